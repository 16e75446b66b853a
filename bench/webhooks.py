"""Webhooks accepted durably, held against a bare application that answers the same requests and keeps nothing.

Three things, each with a node and senders in processes of their own: how many a second are accepted, in turns with the bare application; how
long an answer takes at four fifths of what was accepted the moment before, since a machine that others use is not as fast a minute later;
and a soak, in which the node also runs what it accepts: nothing may be lost, and its memory may not grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from bench.figures import Figure, Measured, percentile, ratio
from bench.floor import Floor
from bench.rig import UNBOUNDED, database_path, folder
from bench.sender import Load, Sent, send
from ropewalk.service.bundles import pack
from ropewalk.service.config import Settings
from ropewalk.service.node import Node
from ropewalk.service.options import Chosen
from ropewalk.service.releasing import Releases
from ropewalk.service.service import open_service

_TWIST = Path(__file__).with_name("webhook_twist.py")
_INSTANCES = 20
_OF_THE_MOST = 0.8
_SOAK_RATE = 200.0
"""Deliveries a second in the soak: what a small machine can also run while the senders take their share of it."""

_PENDING = frozenset({"queued", "running", "retrying"})


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure acceptance, answering times and the soak."""
    rounds, seconds, soak = (2, 1.0, 5.0) if quick else (5, 4.0, 60.0)
    with folder() as path:
        port = _free_port()
        urls = await _prepare(path, port)
        turns = [await _turn(path, port, urls, seconds) for _ in range(rounds)]
    with folder() as path:
        accepted, lost, grown = await _soak(path, soak)
    bare, ours = [turn.bare for turn in turns], [turn.ours for turn in turns]
    p50, p99 = ([percentile(turn.milliseconds, share) for turn in turns] for share in (50, 99))
    figures = [
        Figure(name="webhooks_vs_bare_app", value=ratio(ours, bare), bound="≥", target=0.5),
        Figure(name="webhooks_per_second", value=statistics.median(ours), unit="/s", absolute=True),
        Figure(name="webhook_p99_vs_p50", value=ratio(p99, p50), target=10.0),
        Figure(name="webhook_p50_ms", value=statistics.median(p50), unit="ms", absolute=True),
        Figure(name="webhook_soak_accepted", value=accepted, unit="", absolute=True),
        Figure(name="webhook_soak_lost", value=lost, unit="", target=0.0),
        Figure(name="webhook_soak_memory_growth_mb", value=grown, unit="MB", target=20.0),
    ]
    return Measured(figures=figures, rounds={"bare per second": bare, "ours per second": ours, "p50 ms": p50, "p99 ms": p99})


class _Turn(Struct, frozen=True, kw_only=True):
    """What the bare application and a node accepted a second, and how long the node's answers then took at four fifths of that."""

    bare: float
    ours: float
    milliseconds: list[float]


async def _turn(path: Path, port: int, urls: list[str], seconds: float) -> _Turn:
    load = Load(urls=urls, seconds=seconds)
    async with _process(port, sys.executable, "-m", "bench.bare_app", str(port)):
        bare = _per_second(await send(load))
    async with _node(path, port, "web"):
        ours = _per_second(await send(load))
        paced = await send(Load(urls=urls, seconds=seconds, rate=_OF_THE_MOST * ours))
    return _Turn(bare=bare, ours=ours, milliseconds=paced.milliseconds)


def _per_second(sent: Sent) -> float:
    if set(sent.statuses) != {"202"}:
        raise RuntimeError(f"every delivery was to be accepted: {sent.statuses}")
    return sent.accepted / sent.seconds


async def _soak(path: Path, seconds: float) -> tuple[int, int, float]:
    """Send at a steady rate to a node that runs what it accepts.

    Returns:
        How many deliveries were accepted, how many of them never ran, and by how many megabytes the node grew after the first quarter.
    """
    port = _free_port()
    urls = await _prepare(path, port)
    async with _node(path, port, "all") as pid:
        first = await send(Load(urls=urls, seconds=seconds / 4, rate=_SOAK_RATE))
        before = _resident_mb(pid)
        rest = await send(Load(urls=urls, seconds=seconds * 3 / 4, rate=_SOAK_RATE))
        grown = _resident_mb(pid) - before
        accepted = first.accepted + rest.accepted
        while not _PENDING.isdisjoint(statuses := _statuses(path)):  # noqa: ASYNC110 - another process: there is no event to wait for
            await asyncio.sleep(1)
    return accepted, accepted - statuses.get("succeeded", 0), grown


def _statuses(path: Path) -> dict[str, int]:
    """Return how many executions of webhooks have which status."""
    connection = apsw.Connection(str(database_path(path)), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return dict(connection.execute("SELECT status, count(*) FROM executions WHERE trigger = 'webhook' GROUP BY status"))
    finally:
        connection.close()


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


# ── Servers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _prepare(path: Path, port: int) -> list[str]:
    """Make a database with instances that each have a webhook at that port; returns their URLs."""
    settings = Settings(database=f"sqlite:///{database_path(path)}", public_url=f"http://127.0.0.1:{port}", **UNBOUNDED)
    async with open_service(settings, create=True) as service:
        await Releases(service).deploy(pack(_TWIST), name="hooked", dry_run=False)
        twist = next(twist for twist in await service.storage.twists())
        version = await service.storage.version(twist.id)
        assert version is not None
        root = await service.storage.root_priority()
        instances = [(await service.activate(version, root.id, Chosen()))[0] for _ in range(_INSTANCES)]
        await Node(service).drain(until_idle=True, timeout=60)
        found = [await service.storage.read_values(instance, "", ["url"], service.clock.now()) for instance in instances]
    return [msgspec.json.decode(values["url"], type=str) for values in found]


@contextlib.asynccontextmanager
async def _node(path: Path, port: int, role: str) -> AsyncIterator[int]:
    """Run a node in a process of its own; gives its process number."""
    environment = {f"ROPEWALK_{name.upper()}": str(value) for name, value in UNBOUNDED.items()}
    database = f"sqlite:///{database_path(path)}"
    command = [sys.executable, "-m", "ropewalk", "serve", "--database", database, "--port", str(port), "--role", role]
    async with _process(port, *command, **environment) as pid:
        yield pid


@contextlib.asynccontextmanager
async def _process(port: int, *command: str, **environment: str) -> AsyncIterator[int]:
    """Run a server until the block is left, from when it answers."""
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | environment, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(_answers, port):  # noqa: ASYNC110 - another process: there is no event to wait for
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def _answers(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
