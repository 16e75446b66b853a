"""What happens to an execution that uses more than it may."""

from __future__ import annotations

import time

import pytest

from ropewalk.sandbox.interface import Limits
from ropewalk.sandbox.watch import CPUS
from tests.harness.lateness import held_up
from tests.sandbox.bench import IN_BOTH_MODES, Bench

pytestmark = [pytest.mark.asyncio(loop_scope="session"), IN_BOTH_MODES]

CPU_SLACK = 0.03
"""Seconds of CPU that a limit of 0.3 s may be late by."""

MIB = 1024 * 1024


async def test_a_loop_is_ended_when_its_cpu_time_is_used_up(bench: Bench) -> None:
    with held_up() as late:
        attempt = await bench.begin(bench.twist("while True: pass", limits=Limits(cpu=0.3)))
        assert (await attempt.ended()).limit == "cpu_limit"
    assert 0.3 <= attempt.process.usage().cpu <= 0.3 + CPU_SLACK + late.seconds


async def test_cpu_time_of_threads_counts_together(bench: Bench) -> None:
    body = """
    import asyncio, hashlib
    await asyncio.gather(*(asyncio.to_thread(hashlib.pbkdf2_hmac, "sha256", b"", b"", 10**9) for _ in range(4)))
    """
    with held_up() as late:
        attempt = await bench.begin(bench.twist(body, limits=Limits(cpu=0.3)))
        assert (await attempt.ended()).limit == "cpu_limit"
    assert 0.3 <= attempt.process.usage().cpu <= 0.3 + CPU_SLACK + CPUS * late.seconds


async def test_catching_everything_does_not_save_it(bench: Bench) -> None:
    body = """
    import signal
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            while True: pass
        except BaseException: pass
    """
    attempt = await bench.begin(bench.twist(body, limits=Limits(cpu=0.2)))
    assert (await attempt.ended()).limit == "cpu_limit"


async def test_waiting_is_ended_when_the_wall_time_is_over(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("import time; time.sleep(60)", limits=Limits(wall=0.2)))
    began = time.monotonic()
    assert (await attempt.ended()).limit == "timeout"
    assert time.monotonic() - began < 5


async def test_memory_beyond_the_limit_ends_it(bench: Bench) -> None:
    image = bench.twist("held = bytearray(args[0]); return len(held)", limits=Limits(memory=32 * MIB))
    assert await bench.run(image, 24 * MIB) == 24 * MIB
    attempt = await bench.begin(image, "probe", 34 * MIB)
    assert (await attempt.ended()).limit == "memory_limit"


async def test_memory_far_beyond_the_limit_is_never_had(bench: Bench) -> None:
    body = """
    try:
        bytearray(args[0])
    except BaseException:
        return "caught"
    """
    for size in (40 * MIB, 1 << 40, 1 << 62):
        attempt = await bench.begin(bench.twist(body, limits=Limits(memory=32 * MIB)), "probe", size)
        assert (await attempt.error()).type == "memory_limit"
        assert attempt.process.usage().memory_peak < 4 * MIB


async def test_memory_in_many_small_pieces_ends_it_too(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("held = []\nwhile True: held.append([0] * 100)", limits=Limits(memory=16 * MIB)))
    assert (await attempt.ended()).limit == "memory_limit"


async def test_memory_that_was_given_back_was_too_much_all_the_same(bench: Bench) -> None:
    image = bench.twist("held = bytearray(34 << 20); del held; return 1", limits=Limits(memory=32 * MIB))
    attempt = await bench.begin(image)
    assert (await attempt.ended()).limit == "memory_limit"


async def test_memory_that_the_import_needs_is_bounded_and_not_counted(bench: Bench) -> None:
    bench.strict = False  # otherwise it is the attempt's own, and counted
    image = bench.twist("return len(bytearray(24 << 20))", "held = bytearray(24 << 20)", limits=Limits(memory=32 * MIB))
    assert await bench.run(image) == 24 * MIB


async def test_descriptors_are_bounded(bench: Bench) -> None:
    body = """
    held = []
    try:
        while True: held.append(open("/twist/module.py"))
    except OSError as error:
        return error.strerror, len(held) <= 256
    """
    assert await bench.probe(body) == ["Too many open files", True]


async def test_what_was_used_is_told(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("held = b'x' * (20 << 20)\nfor n in range(10**6): pass"))
    assert await attempt.result() is None
    usage = attempt.process.usage()
    assert usage.cpu > 0.005
    assert 20 * MIB <= usage.memory_peak < 28 * MIB


async def test_what_a_crashed_process_used_is_told(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("import os; held = b'x' * (20 << 20); os._exit(3)"))
    assert (await attempt.ended()).code == 3
    # The kernel counts what is resident for each CPU, and adds up now and then: some dozens of pages may be missing.
    assert 19.5 * MIB <= attempt.process.usage().memory_peak < 24 * MIB
