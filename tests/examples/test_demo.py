"""The demo's rows are what it says, and the whole of it ends well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import dataset

ROOT = Path(__file__).parent.parent.parent


def test_there_are_rows_enough_and_none_twice() -> None:
    ids = [row[0] for row in dataset.rows()]
    assert len(ids) >= 10_000
    assert len(set(ids)) == len(ids)


def test_every_row_has_a_known_country() -> None:
    countries = dataset.countries()
    assert all(countries[code] == name for *_, code, name in dataset.rows())


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_demo_ends_well(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "examples.demo", str(tmp_path / "demo")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "killed 2 times" in demo.stdout
