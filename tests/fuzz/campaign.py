"""The long form, `make fuzz`: every target for its share of the time, and a million frames."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import Final

from tests.fuzz.flood import MILLION, flood

SHARES: Final = {"answers": 0.45, "connection": 0.2, "egress": 0.15, "manifests": 0.1, "workspace": 0.1}
"""Of the time: the more code a target reaches, and the slower it is, the more."""

_TELL_EVERY: Final = 15.0
_PROGRESS: Final = re.compile(r"#(\d+)\s.*?cov: (\d+).*?corp: (\d+).*?exec/s: (\d+) rss: (\d+)")


def main(minutes: float) -> None:
    """Fuzz for so long, and exit with 1 when anything was found."""
    found = [name for name, share in SHARES.items() if not fuzz(name, seconds=round(minutes * 60 * share))]
    tell(f"{MILLION:,} frames")
    flood(MILLION, seed=int(time.time()), progress=True)
    if found:
        sys.exit(
            f"found something: {', '.join(found)}; the inputs are in .fuzz/, and `python -m tests.fuzz TARGET FILE` runs one again"
        )
    tell("nothing was found")


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target, saying now and then how it goes, and return whether all was well."""
    tell(f"{name}, for {seconds} s")
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds)]
    last, told = "", time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as running:
        assert running.stderr is not None
        for line in running.stderr:
            progress = _PROGRESS.match(line)
            if progress is None:
                _pass_on(line)
                continue
            last = "  {:>10} inputs, {} places reached, {} kept, {} a second, {} MB".format(*progress.groups())
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                tell(last)
    tell(last)
    return running.returncode == 0


def _pass_on(line: str) -> None:
    """Show what libFuzzer and Python say, but for what it always says."""
    if not line.startswith(("INFO:", "stat::", "#", "Done ")) and line.strip() and '" # Uses' not in line:
        sys.stderr.write(line)


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, file=sys.stderr, flush=True)
