"""A node in miniature, run by tests in a process of its own: starts a sandbox, runs one attempt, and stays until it is killed.

Prints the user and files that the attempt saw, then every process that it is to take with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from ropewalk.sandbox.source import ForkSource
from tests.harness.processes import below
from tests.sandbox.bench import Bench


async def main(bundles: str) -> None:
    bench = Bench(ForkSource(bundles), Path(bundles))
    async with bench.running():
        image = bench.twist("import os, time; time.sleep(args[0]); return os.getuid(), os.listdir(os.path.dirname(__file__))")
        print(json.dumps(await bench.run(image, 0)), flush=True)
        attempt = await bench.begin(image, "probe", 60)
        print(json.dumps([attempt.process.pid, *below(os.getpid())]), flush=True)
        await attempt.ended()


asyncio.run(main(sys.argv[1]))
