"""`ropewalk key`: the master key as an operator sees it."""

from __future__ import annotations

import json
from contextlib import closing

import apsw
import pytest

from tests.cli.calling import Ropewalk


def test_the_key_is_never_shown(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ropewalk("key", "new").out.strip()
    assert ropewalk.json("key", "new")["key"] != made
    monkeypatch.setenv("ROPEWALK_KEY", made)
    shown = ropewalk.json("config")["key"]
    assert (shown["value"], shown["source"]) == ("***", "variable ROPEWALK_KEY")
    assert made not in ropewalk("config").out


def test_a_short_key_is_refused_without_showing_it(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_KEY", "hunter2hunter")
    done = ropewalk("config")
    assert done.code == 2
    assert "ROPEWALK_KEY" in done.err
    assert "hunter2" not in done.err


def test_rotating_by_command(ropewalk: Ropewalk) -> None:
    ropewalk("priority", "create", "Work")  # makes the database
    assert ropewalk.json("key", "show") == {"key": None, "source": "ropewalk.db-key"}
    first = ropewalk.json("key", "rotate")
    assert (first["previous"], first["rewrapped"], first["removed"]) == (None, 0, 0)
    second = ropewalk.json("key", "rotate")
    assert (second["previous"], second["removed"]) == (first["key"], 1)
    assert ropewalk.json("key", "show") == {"key": second["key"], "source": "ropewalk.db-key"}
    (ropewalk.folder / "ropewalk.db-key").unlink()
    done = ropewalk("key", "show")
    assert done.code == 1
    assert "ropewalk.db-key is gone: restore that file" in done.err


def test_keys_that_do_not_open_are_named_and_the_others_rotated(ropewalk: Ropewalk) -> None:
    ropewalk("priority", "create", "Work")
    first = ropewalk.json("key", "rotate")
    with closing(apsw.Connection(str(ropewalk.folder / "ropewalk.db"))) as connection:
        connection.execute("INSERT INTO data_keys (instance, master, wrapped) VALUES ('i1', ?, x'00')", (first["key"],))
    done = ropewalk("key", "rotate", "--json")
    assert done.code == 1
    said = json.loads(done.out)
    assert (said["error"]["type"], said["rewrapped"], list(said["unopened"])) == ("Tampered", 0, ["i1"])
    assert ropewalk.json("key", "show")["key"] == said["key"] != first["key"]
    done = ropewalk("key", "rotate")
    assert (done.code, done.out) == (1, "")
    assert "the key does not open, and stays as it is (i1: " in done.err
