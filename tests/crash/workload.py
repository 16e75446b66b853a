"""What the outside asks for: a list of steps drawn from a seed, over some instances."""

from __future__ import annotations

import random
from typing import Any

Step = dict[str, Any]

SLOTS = 3
SLOW = 0.005
"""Seconds in which others may overtake one that is slow."""


class Drawn:
    """Draws the steps of one episode."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        self._names = 0
        self._codes = 1
        self._deliveries: list[str] = []

    def steps(self, count: int) -> list[Step]:
        """Return steps; the first make the instances."""
        begin = [{"do": "activate", "slot": slot, "tone": self._tone()} for slot in range(SLOTS)]
        return [*begin, *(self._step() for _ in range(count))]

    def _name(self) -> str:
        self._names += 1
        return f"w{self._names}"

    def _tone(self) -> str:
        """Return a value for the option that says how the instance takes its lifecycle; no other has it."""
        return self._name() + self.chance.choice(["", "", "", ":error", ":dead", ":stay"])

    def _step(self) -> Step:
        chance = self.chance
        kinds = ["invoke"] * 8 + ["deliver"] * 5 + ["pause"] * 6 + ["advance"] * 3 + ["options"] * 3 + ["grant"] * 2
        kinds += ["set", "cancel", "cancel", "cancel", "retry", "suspend", "resume", "deploy", "deploy", "rollback", "deactivate"]
        slot = chance.randrange(SLOTS)
        match chance.choice(kinds):
            case "invoke":
                return {"do": "invoke", "slot": slot, "name": self._name(), "spec": self._spec(0)}
            case "deliver":
                return {"do": "deliver", "slot": slot, "delivery": self._delivery()}
            case "pause":
                return {"do": "pause", "turns": chance.choice([1, 5, 20, 60])}
            case "advance":
                return {"do": "advance", "seconds": chance.choice([0.5, 3, 10, 700])}
            case "set":
                return {"do": "set", "slot": slot, "key": f"outside:{self._name()}"}
            case "cancel":
                return {"do": "cancel", "slot": slot, "place": chance.randrange(4)}
            case "options":
                return {"do": "options", "slot": slot, "tone": self._tone()}
            case "deploy":
                return {"do": "deploy", "code": self._code(), "grant": chance.random() < 0.6}
            case "rollback":
                return {"do": "rollback", "grant": chance.random() < 0.6}
            case "deactivate" if chance.random() < 0.6:
                return {"do": "pause", "turns": 3}
            case other:
                return {"do": other, "slot": slot}

    def _code(self) -> dict[str, Any]:
        """Return what a version is like; a third of them ask for something that others don't."""
        self._codes += 1
        chance = self.chance
        return {
            "number": self._codes,
            "daily": chance.random() < 0.5,
            "asks": chance.choice([[], [], ["a"], ["b"], ["a", "b"]]),
            "upgrade": chance.choice([[], [], ["error"], ["crash"], ["error"] * 40]),
        }

    def _delivery(self) -> str:
        """Return what the sender calls a delivery; now and then it is sent again."""
        if self._deliveries and self.chance.random() < 0.4:
            return self.chance.choice(self._deliveries)
        self._deliveries.append(f"d{len(self._deliveries)}")
        return self._deliveries[-1]

    def _spec(self, depth: int) -> dict[str, Any]:
        chance = self.chance
        spec: dict[str, Any] = {}
        if chance.random() < 0.2:
            spec["part"] = True
        if chance.random() < 0.3:
            spec["fetch"] = True
        if chance.random() < 0.15:
            spec["slow"] = SLOW
        if chance.random() < 0.3:
            spec["source"] = f"s{chance.randrange(3)}"
        if depth and chance.random() < 0.45:
            spec["fails"] = self._fails()
        if depth < 2 and chance.random() < 0.8:
            spec["kids"] = [self._kid(depth + 1) for _ in range(chance.choice([1, 2, 3, 4]))]
        return spec

    def _fails(self) -> list[str]:
        """Return how the first attempts end; the last way leads to a verdict for good, or a success follows."""
        chance = self.chance
        return chance.choice(
            [
                ["error"],
                ["retry"],
                ["error", "crash"],
                ["memory_limit"],
                ["error", "error"],
                ["give_up"],
                ["unretried"],
                ["error"] * 40,
                ["cpu_limit"] * 40,
            ]
        )

    def _kid(self, depth: int) -> dict[str, Any]:
        chance = self.chance
        key = chance.choice([None, None, "k1"])
        return {
            "name": self._name(),
            "spec": self._spec(depth),
            "delay": chance.choice([None, None, None, 2.0, 5.0, 30.0]),
            "key": key,
            "coalesce": key is not None and chance.random() < 0.5,
            "callback": chance.random() < 0.3,
        }
