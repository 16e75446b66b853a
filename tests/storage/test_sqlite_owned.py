"""Whatever belongs to an instance goes with it."""

from __future__ import annotations

from pathlib import Path

import apsw

from ropewalk.storage.sqlite import open_sqlite
from ropewalk.storage.sqlite.upkeep import OWNED
from tests.storage.scene import StillClock

STAYS = {
    "executions": "until retention, with what tells of them",
    "logs": "they are their executions'",
    "deliveries": "they are their executions'",
    "activities": "they are people's",
    "data_keys": "destroyed by the very commit that ends the instance",
    "secrets": "destroyed by the very commit that ends the instance",
}
"""Tables with a column `instance` whose rows outlive the instance, and why."""


async def test_every_table_of_an_instance_is_erased_with_it_or_stays_for_a_reason(tmp_path: Path, clock: StillClock) -> None:
    storage = await open_sqlite(tmp_path / "walk.db", clock=clock, create=True)
    await storage.close()
    connection = apsw.Connection(str(tmp_path / "walk.db"))
    tables = (
        "SELECT t.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c WHERE c.name = 'instance' AND t.type = 'table'"
    )
    found = {name for (name,) in connection.execute(tables)}
    connection.close()
    assert found == {*OWNED, *STAYS}
