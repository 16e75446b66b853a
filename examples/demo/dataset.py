"""The API that the demo syncs from: a Datasette, as PyPI has it, over the world's public holidays.

The rows are computed by the `holidays` package for every country that it knows. Each has an id of its own, so that what was made of it
can be compared row by row. Before: nothing. After: `node` syncs it.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import holidays
from holidays.registry import COUNTRIES

from examples.demo.process import free_port, stop, wait_for_http

YEARS = range(2024, 2028)

SCHEMA = """
create table countries (code text primary key, name text not null);
create table holidays (
    id text primary key, date text not null, name text not null,
    country text not null references countries (code), country_name text not null
);
create index holidays_by_country on holidays (country);
"""

# A numbered page, for clients that count pages. Datasette's own tables hand out continuation tokens only.
METADATA = {
    "databases": {
        "calendar": {
            "queries": {
                "page": {
                    "sql": "select * from holidays order by id"
                    " limit cast(:size as integer) offset (cast(:page as integer) - 1) * cast(:size as integer)"
                }
            }
        }
    }
}

Row = tuple[str, str, str, str, str]


def countries() -> dict[str, str]:
    """Return the name of each country by its code: `UnitedStates`, as the package calls its class, is read as "United States"."""
    supported = holidays.list_supported_countries(include_aliases=False)
    names = {code: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls) for cls, code, *_ in COUNTRIES.values()}
    return {code: names[code] for code in sorted(supported)}


def rows() -> Iterator[Row]:
    """Yield every public holiday of every country, named in its own language: id, date, name, country code, country name."""
    for code, country in countries().items():
        language = holidays.country_holidays(code).default_language
        for day, name in sorted(holidays.country_holidays(code, years=YEARS, language=language).items()):
            yield f"{code}-{day.isoformat()}", day.isoformat(), name, code, country


def build(path: Path) -> int:
    """Write the database and return how many holidays it has."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        every = list(rows())
        database.executemany("insert into countries values (?, ?)", countries().items())
        database.executemany("insert into holidays values (?, ?, ?, ?, ?)", every)
    return len(every)


@contextmanager
def served(path: Path, log: Path) -> Iterator[str]:
    """Serve the database with Datasette on a free loopback port; gives its base URL."""
    metadata = path.with_name("metadata.json")
    metadata.write_text(json.dumps(METADATA), encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "datasette", "serve", str(path), "--metadata", str(metadata), "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_http(f"{url}/-/versions.json", server, log)
        yield url
    finally:
        stop(server)
