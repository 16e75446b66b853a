"""A fixed workload that comes by every kind of commit: each step waits until what it began is over, so that the commits come in one order."""

from __future__ import annotations

from typing import Any

from tests.crash.workload import Step

MAIN, STAYING, UNFIT, TIDY, GOING, PAST = 0, 1, 2, 3, 4, 9
"""Instances: that most is done with; that does not want to go; whose activation fails; that cleans up, and has no secret; that goes; and of the
past.
"""

LONG_AGO = (-10 * 86_400.0, -60 * 86_400.0)
"""Seconds by which the clock was behind when those did something: records are kept for less than the first, executions for less than the
second, which is made last, so that no node has removed anything yet.
"""


def history(when: int) -> list[Step]:
    """Return what was done at one of the times of long ago: what is removed of it is removed in commits, too."""
    return [
        {"do": "activate", "slot": PAST, "tone": f"p{when}"},
        {"do": "rest"},
        _work(f"p{when}-1", slot=PAST, chores="leave", kids=[_kid(f"p{when}-2", callback=True)]),
        {"do": "deliver", "slot": PAST, "delivery": f"p{when}"},
        {"do": "rest"},
    ]


def everything() -> list[Step]:
    """Return the steps. What was not acknowledged is asked for again, but for what is no other then."""
    steps = [*_begin(), *_executions(), *_changes(), *_troubles(), *_end()]
    return [step if step["do"] in ("invoke", "retry", "cancel", "redeliver") else step | {"again": True} for step in steps]


def _begin() -> list[Step]:
    slots = {MAIN: "a0", STAYING: "a1:stay", UNFIT: "a2:unfit", TIDY: "a3", GOING: "a4"}
    return [
        *({"do": "activate", "slot": slot, "tone": tone, "secret": slot != TIDY} for slot, tone in slots.items()),
        {"do": "rest"},
        {"do": "priority", "id": "6f8f57715090da2632453988d9a1501b"},
    ]


def _executions() -> list[Step]:
    return [
        _work("e1", part=True, fetch=True, source="s", kids=[_kid("e2", callback=True), _kid("e3", key="k", coalesce=True)]),
        {"do": "rest"},
        _work("e4", kids=[_kid("e5", spec={"fails": ["error"] * 40}), _kid("e6", spec={"fails": ["unretried"]})]),
        {"do": "rest"},
        _work("e7", kids=[_kid("e8", spec={"fails": ["crash", "retry"]}), _kid("e9", delay=600.0, key="late")]),
        *_later(4, 6.0),
        *(_work(f"c{number}", slow=0.1) for number in range(2)),
        {"do": "pause", "turns": 100},  # until the node has taken note of both: of what is cancelled nobody tells it
        *({"do": "cancel", "slot": MAIN, "place": 0}, {"do": "rest"}),
        *(_work("c2", slow=0.1), {"do": "cancel", "slot": MAIN, "place": 1}),
        {"do": "retry", "slot": MAIN},
        *_later(4, 10.0),
        {"do": "deliver", "slot": MAIN, "delivery": "d1"},
        {"do": "rest"},
        {"do": "redeliver", "slot": MAIN},
        {"do": "rest"},
        *({"do": "set", "slot": MAIN, "key": f"outside:{number}"} for number in range(2)),
        *(
            step
            for number, chores in enumerate(["make", "change", "make", "drop"])
            for step in (_work(f"t{number}", slot=TIDY, chores=chores), {"do": "rest"})
        ),
        *_later(1, 700.0),
    ]


def _changes() -> list[Step]:
    return [
        {"do": "options", "slot": MAIN, "tone": "o1:error"},
        *_later(2, 10.0),
        {"do": "options", "slot": MAIN, "tone": "o2:dead"},
        *_later(4, 10.0),
        {"do": "options", "slot": MAIN, "tone": "o3"},
        {"do": "rest"},
        _deploy(2, daily=True, upgrade=["error"]),
        *_later(2, 10.0),
        *_later(1, 1300.0),
        _deploy(3, grant=False, asks=["a"]),
        {"do": "grant", "slot": MAIN},
        {"do": "rest"},
        {"do": "rollback", "grant": True},
        {"do": "rest"},
        _deploy(4, upgrade=["error"] * 40),
        *_later(4, 10.0),
        _deploy(5),
        {"do": "rest"},
    ]


def _troubles() -> list[Step]:
    return [
        {"do": "suspend", "slot": MAIN},
        _work("r1"),
        {"do": "resume", "slot": MAIN},
        {"do": "rest"},
        *(step for of in ("sandbox", "none") for step in ({"do": "fault", "of": of}, _work(f"r-{of}"), {"do": "rest"})),
        {"do": "rotate"},
        {"do": "damage"},
        {"do": "doctor"},
        {"do": "unschedule", "slot": MAIN},
    ]


def _end() -> list[Step]:
    return [
        {"do": "deactivate", "slot": STAYING},
        {"do": "deactivate", "slot": GOING},
        *_later(3, 20.0),
        {"do": "set_back", "seconds": 2 * 86_400.0},
        {"do": "rest"},
    ]


def _later(times: int, seconds: float) -> list[Step]:
    return [step for _ in range(times) for step in ({"do": "advance", "seconds": seconds}, {"do": "rest"})]


def _work(name: str, slot: int = MAIN, **spec: Any) -> Step:
    return {"do": "invoke", "slot": slot, "name": name, "spec": spec}


def _kid(name: str, spec: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
    return {"name": name, "spec": spec or {}, "delay": None, "key": None, "coalesce": False, "callback": False} | how


def _deploy(number: int, *, grant: bool = True, **code: Any) -> Step:
    return {"do": "deploy", "code": {"number": number, **code}, "grant": grant}
