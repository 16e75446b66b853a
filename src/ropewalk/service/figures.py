"""A node's figures for Prometheus: what it has done, and how much its database has waiting."""

from __future__ import annotations

from ropewalk.service.node import Node
from ropewalk.service.service import Service
from ropewalk.web.app import Figures
from ropewalk.web.webhooks import Webhooks


async def figures(service: Service, node: Node, webhooks: Webhooks) -> Figures:
    """Return the figures of this moment."""
    load, stats, counts, room = await service.storage.workload(), service.storage.stats(), node.counts, node.room
    return {
        **_of_webhooks(webhooks),
        "ropewalk_attempts_total": ("Attempts that ended on this node.", counts.executions),
        "ropewalk_attempts_succeeded_total": ("Attempts that succeeded on this node.", counts.succeeded),
        "ropewalk_attempts_failed_total": ("Attempts that failed on this node.", counts.failed),
        "ropewalk_attempts_lost_total": ("Attempts whose lease or sandbox was lost on this node.", counts.lost),
        "ropewalk_node_running": ("Leases that this node holds now.", node.running),
        "ropewalk_node_memory_bytes": ("Memory of this node for executions.", room.memory),
        "ropewalk_node_memory_taken_bytes": (
            "What of it is set aside for executions that run, and held for those to come.",
            room.taken,
        ),
        "ropewalk_node_waiting_for_room": ("Executions that this node has claimed and that wait for memory.", room.waiting),
        "ropewalk_ready": ("Executions of the database that are ready to run.", load.ready),
        "ropewalk_running": ("Executions of the database that run now, on any node.", load.running),
        "ropewalk_backing_off": ("Executions of the database that wait for a retry.", load.backing_off),
        "ropewalk_storage_commits_total": ("Transactions that this node committed.", stats.commits),
        "ropewalk_storage_syncs_total": ("Times that this node had the disk keep what was written.", stats.syncs),
    }


def _of_webhooks(webhooks: Webhooks) -> Figures:
    taken, refused = webhooks.taken, dict(webhooks.refused)
    return {
        "ropewalk_webhooks_accepted_total": ("Webhook requests that this node stored as events.", taken["accepted"]),
        "ropewalk_webhooks_duplicate_total": ("Webhook requests that were stored before.", taken["duplicate"]),
        "ropewalk_webhooks_held_total": ("Webhook requests that waited for the execution that made the webhook.", taken["held"]),
        "ropewalk_webhooks_handshake_total": ("Handshakes of providers that this node answered.", taken["handshake"]),
        "ropewalk_webhooks_refused_total": ("Webhook requests that this node refused, by reason.", refused),
        "ropewalk_webhooks_open": ("Webhook requests that this node is answering.", webhooks.open),
    }
