"""What recording costs: executions a second of a node that records every attempt, and of one that records none, in turns."""

from __future__ import annotations

from bench.executions import in_flight
from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import IN_FLIGHT, folder, serving

_TARGET = 1.10


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure get + set, each round on both nodes, in either order."""
    rounds, count = (4, 160) if quick else (14, 600)
    rates: dict[bool, list[float]] = {True: [], False: []}
    with folder() as path, folder() as other_path:
        async with serving(path, record="all") as recording, serving(other_path, record="none") as silent:
            nodes = {True: recording, False: silent}
            instances = {recorded: await rig.activate(await rig.deploy(), IN_FLIGHT) for recorded, rig in nodes.items()}
            for number in range(rounds + 1):
                for recorded in (number % 2 == 0, number % 2 == 1):
                    rates[recorded].append(await in_flight(nodes[recorded], instances[recorded], "get_set", count))
    recorded_rate, silent_rate = rates[True][1:], rates[False][1:]  # the first round warms both up
    return Measured(
        figures=[Figure(name="recording_cost", value=ratio(silent_rate, recorded_rate), target=_TARGET)],
        rounds={"recorded per second": recorded_rate, "unrecorded per second": silent_rate},
    )
