"""The short form of `make fuzz`: every target for a while from a fixed seed, and a million frames.

They run in processes of their own: libFuzzer ends the one that it runs in, and of the flood's every descriptor is counted. What they find is kept in .fuzz/.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.flood import MILLION
from tests.fuzz.targets import TARGETS, seeds, watched

ROOT = Path(__file__).parents[2]
RUNS = {"answers": 700, "connection": 500, "egress": 10_000, "manifests": 20_000, "workspace": 20_000}
SECONDS = 12
"""After which a fuzzer stops, however busy the machine: on a quiet one it needs about half of that for its runs."""

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason=f"NOT FUZZED, GUIDED BY COVERAGE: there is no atheris for Python {sys.version_info[0]}.{sys.version_info[1]} on this machine",
)


@needs_atheris
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_finds_nothing(name: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--seed", "1", "--runs", str(RUNS[name]), "--seconds", str(SECONDS)]
    fuzzer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=250, check=False)
    assert fuzzer.returncode == 0, fuzzer.stderr[-8_000:]
    assert "Done " in fuzzer.stderr


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_begins_with_is_well(name: str) -> None:
    with TARGETS[name]() as target:
        run = watched(target)
        for data in [b"", *seeds()]:
            run(data)


@pytest.mark.slow
def test_a_million_frames() -> None:
    command = [sys.executable, "-c", f"from tests.fuzz.flood import flood; flood({MILLION}, seed=1)"]
    flooded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert flooded.returncode == 0, flooded.stderr[-8_000:]
