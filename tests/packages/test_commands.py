"""Packages by way of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.commands import Cli
from tests.harness.index import Index
from tests.packages.test_installing import source

EXAMPLE = Path(__file__).parents[2] / "examples" / "holidays_from_package.py"


@pytest.fixture
def cli(tmp_path: Path, index: Index, pip_alone: None) -> Cli:
    """Commands whose packages come from `index`, which has two versions of one."""
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"}, requires=["beta"])
    index.add("beta", "0.5", {"beta.py": ""})
    return Cli(tmp_path, ROPEWALK_PACKAGE_INDEX=index.url)


def test_a_dry_run_shows_what_would_be_installed(cli: Cli) -> None:
    path = cli.write(source("alpha"), "uses.py")
    planned = cli.json("deploy", path, "--dry-run")["packages"]
    assert [(one["name"], one["version"], one["wheel"], one["requires"]) for one in planned] == [
        ("alpha", "1.0", "alpha-1.0-py3-none-any.whl", ["beta"]),
        ("beta", "0.5", "beta-0.5-py3-none-any.whl", []),
    ]
    assert all(len(one["sha256"]) == 64 and one["size"] > 0 for one in planned)
    assert not cli.database.exists()


def test_people_see_the_packages_too(cli: Cli) -> None:
    done = cli.run("deploy", cli.write(source("alpha"), "uses.py"))
    assert done.code == 0, done.err
    assert "  package: alpha 1.0  (" in done.out


def test_packages_stay_until_they_are_upgraded(cli: Cli, index: Index) -> None:
    path = cli.write(source("alpha"), "uses.py")
    first = cli.json("deploy", path)
    assert first["version"] == 1
    index.add("alpha", "2.0", {"alpha.py": "VERSION = 2"})
    assert cli.json("deploy", path)["unchanged"]
    upgraded = cli.json("deploy", path, "--upgrade-packages")
    assert (upgraded["version"], [one["version"] for one in upgraded["packages"]]) == (2, ["2.0"])
    cli.json("activate", "uses", "--wait")
    assert cli.json("invoke", "uses", "version")["result"] == 2


def test_what_cannot_be_installed_is_told(cli: Cli) -> None:
    refused = cli.refused("deploy", cli.write(source("gamma"), "uses.py"))
    assert (refused.code, refused.type) == (1, "BundleError")
    assert "No matching distribution found for gamma" in refused.message
    assert not cli.database.exists() or cli.json("twists") == []


def test_the_example(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    done = cli.run("deploy", str(EXAMPLE), "--json", timeout=280)
    if done.code and "cannot be reached" in done.out:
        pytest.skip(f"THE EXAMPLE WAS NOT TESTED, since there is no package index: {done.value['error']['message']}")
    assert done.code == 0, done.out + done.err
    cli.json("activate", "holidays-from-package", "--option", "country=FR", "--option", "year=2026", "--wait")
    activities = cli.json("activities")
    assert ("2026-07-14", "National Day") in [(one["start"], one["title"]) for one in activities]
