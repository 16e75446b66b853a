"""Bugs planted on purpose: the campaign has to see each of them. Whoever adds a guarantee to the model adds a bug that breaks it."""

from __future__ import annotations

from tests.crash.mutants import changing as changing, keeping as keeping, telling as telling
from tests.crash.mutants.planting import MUTANTS as MUTANTS
