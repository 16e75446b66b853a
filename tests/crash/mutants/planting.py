"""How bugs are planted: each changes one thing of the production code in the process that is to have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Mutant = Callable[[], None]
MUTANTS: dict[str, Mutant] = {}


def mutant(plant: Mutant) -> Mutant:
    """Have a bug by its function's name."""
    MUTANTS[plant.__name__] = plant
    return plant


def put(owner: Any, **names: Any) -> None:
    """Put something else in the place of a module's or class's own."""
    for name, value in names.items():
        assert name in vars(owner), f"there is no {name} any more"
        setattr(owner, name, value)


def reword(module: Any, name: str, old: str, new: str) -> None:
    """Change the words of a statement."""
    assert old in vars(module)[name], f"{name} does not say {old!r} any more"
    setattr(module, name, vars(module)[name].replace(old, new))
