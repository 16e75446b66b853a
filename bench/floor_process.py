"""The process that the floor forks: the root zygote's own image, with one thread, and nothing of the benchmark's.

It is run with the root zygote's flags and environment, and the folders of `ropewalk` and `msgspec` as arguments. A line `COUNT IN_FLIGHT` on stdin asks for that many bare forks; it answers
with one line: for one in flight the nanoseconds of each, else those of all together.
"""

import os
import sys
import time


def _one_by_one(count: int) -> list[int]:
    took: list[int] = []
    for _ in range(count):
        began = time.perf_counter_ns()
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        took.append(time.perf_counter_ns() - began)
    return took


def _in_flight(count: int, in_flight: int) -> int:
    began = time.perf_counter_ns()
    alive = 0
    for _ in range(count):
        if alive == in_flight:
            os.wait()
            alive -= 1
        if not os.fork():
            os._exit(0)
        alive += 1
    for _ in range(alive):
        os.wait()
    return time.perf_counter_ns() - began


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    from ropewalk.guest import root

    root.warm()
    for line in sys.stdin:
        count, in_flight = map(int, line.split())
        took = _one_by_one(count) if in_flight == 1 else [_in_flight(count, in_flight)]
        sys.stdout.write(" ".join(map(str, took)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
