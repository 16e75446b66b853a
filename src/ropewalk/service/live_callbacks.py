"""What of an older version's work a new one could not run: callbacks and pending tasks that name methods it does not have."""

from __future__ import annotations

from collections.abc import Iterator

from ropewalk.storage.interface import Storage
from ropewalk.storage.records import Instance, Version
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Target

_SHOWN = 5


class BreaksLive(Exception):
    """A version lacks methods that live instances' callbacks or tasks name; the message names them and the remedy."""


async def check_live(storage: Storage, latest: Version, manifest: Manifest, twist: str) -> None:
    """Raise BreaksLive when live callbacks or tasks of a twist name methods that `manifest` does not have."""
    found = await breakages(storage, latest, manifest)
    if found:
        raise BreaksLive(
            f"callbacks or tasks of live instances name methods that this version of {twist} does not have: {'; '.join(found)}. "
            "Keep the methods, or deploy with --force: what names them then fails with CallbackNotFound"
        )


async def breakages(storage: Storage, latest: Version, manifest: Manifest) -> list[str]:
    """Return, in words, the methods that live callbacks and tasks of a twist name and that `manifest` does not have.

    Only when a method of `latest` is gone is anything of the instances read.
    """
    kept = {(method.ns, method.name) for method in manifest.methods}
    gone = {(method.ns, method.name) for method in latest.manifest.methods} - kept
    if not gone:
        return []
    found: dict[str, list[str]] = {}
    for instance in await storage.instances():
        if instance.twist == latest.twist:
            for ns, name in sorted(gone & await _named(storage, instance, latest.manifest)):
                found.setdefault(f"{ns}.{name}" if ns else name, []).append(instance.id)
    return [f"{method}(): {_some(instances)}" for method, instances in sorted(found.items())]


async def _named(storage: Storage, instance: Instance, manifest: Manifest) -> set[tuple[str, str]]:
    """Return the methods that an instance's callbacks and pending tasks name."""
    named = {(task.target.ns, task.target.method) for task in await storage.tasks(instance.id)}
    for ns in _namespaces(manifest):
        for token in await storage.callback_tokens(instance.id, ns):
            target: Target | None = await storage.callback(instance.id, token)
            if target is not None:
                named.add((target.ns, target.method))
    return named


def _namespaces(manifest: Manifest) -> Iterator[str]:
    """Yield the twist's own namespace and those of its tools."""
    yield ""
    for tool in manifest.tools:
        yield tool.ns


def _some(instances: list[str]) -> str:
    more = f" and {len(instances) - _SHOWN} more" if len(instances) > _SHOWN else ""
    return f"instance{'s' if len(instances) > 1 else ''} {', '.join(instances[:_SHOWN])}{more}"
