"""Fuzz one target, guided by what of Ropewalk's code is reached, or all of them in turn, or run inputs again.

python -m tests.fuzz answers --seconds 60    until then, or until something is found: the input is kept in .fuzz/
python -m tests.fuzz answers FILE…           run these inputs again, with no more than Python
python -m tests.fuzz --minutes 30            all targets, and a million frames
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KEPT = Path(".fuzz")
_IN_MEMORY = "/dev/shm"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the host.")
    parser.add_argument("target", nargs="?", help="answers, connection, egress, manifests or workspace; all of them unless given")
    parser.add_argument("inputs", nargs="*", type=Path, help="inputs to run again")
    parser.add_argument("--minutes", type=float, default=30.0, help="for all targets together  [default: 30]")
    parser.add_argument("--seconds", type=int, default=60, help="for one target  [default: 60]")
    parser.add_argument("--runs", type=int, default=-1, help="inputs at most")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed and runs give the same inputs; 0 takes another each time"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.disable()
    if given.target is None:
        importlib.import_module("tests.fuzz.campaign").main(given.minutes)
    elif given.inputs:
        _run_again(given.target, given.inputs)
    elif given.here:
        _fuzz(given)
    else:
        sys.exit(_fuzz_in_a_child())


def _run_again(name: str, inputs: list[Path]) -> None:
    targets = importlib.import_module("tests.fuzz.targets")
    with targets.TARGETS[name]() as target:
        run = targets.watched(target)
        for path in inputs:
            run(path.read_bytes())
            print(f"{path}: well")


def _fuzz_in_a_child() -> int:
    """Fuzz in a process that libFuzzer may end as it does, and clean up after it. Its databases are kept off the disk where that can be."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None) as folder:
        command = [sys.executable, "-m", "tests.fuzz", *sys.argv[1:], "--here"]
        return subprocess.run(command, env={**os.environ, "TMPDIR": folder, "PYTHONHASHSEED": "0"}, check=False).returncode


def _fuzz(given: argparse.Namespace) -> None:
    """Fuzz until the time is over. Never returns: libFuzzer ends the process, with 0 when nothing was found."""
    if importlib.util.find_spec("atheris") is None:
        sys.exit("there is no atheris for this Python on this machine: docs/dependencies.md says where there is")
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["ropewalk"]):
        targets: Any = importlib.import_module("tests.fuzz.targets")
    KEPT.mkdir(exist_ok=True)
    begin = Path(tempfile.mkdtemp())
    for number, seed in enumerate(targets.seeds()):
        (begin / str(number)).write_bytes(seed)
    with targets.TARGETS[given.target]() as target:
        corpus = [] if given.seed else [str(KEPT / given.target)]
        for kept in corpus:
            Path(kept).mkdir(exist_ok=True)
        options = {
            "max_total_time": given.seconds,
            "runs": given.runs,
            "seed": given.seed,
            "max_len": 4096,
            "len_control": 0,
            "timeout": 60,
            "rss_limit_mb": 2048,
            "artifact_prefix": f"{KEPT}/{given.target}-",
            "print_final_stats": 1,
        }
        atheris.Setup(
            [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), *corpus, str(begin)], targets.watched(target)
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
