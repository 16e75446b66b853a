"""Settings: where each comes from, the forms of their values, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ropewalk.service.config import (
    SETTINGS,
    Settings,
    SettingsError,
    load,
    parse_duration,
    parse_size,
    sqlite_path,
)


def test_everything_has_a_default(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path)
    assert settings.database == "sqlite:///./ropewalk.db"
    assert (settings.host, settings.port, settings.concurrency) == ("127.0.0.1", 8420, 8)
    assert settings.limits.memory == 128 * 1024 * 1024
    assert set(settings.sources.values()) == {"default"}


def test_the_table_names_every_field() -> None:
    fields = [name for name in Settings.__struct_fields__ if name != "sources"]
    assert [setting.name for setting in SETTINGS] == fields


def test_every_default_parses_to_itself() -> None:
    defaults = Settings()
    for setting in SETTINGS:
        assert setting.parse(getattr(defaults, setting.name)) == getattr(defaults, setting.name)


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ropewalk.toml"
    file.write_text('limit_cpu = "1s"\nlimit_wall = 2\nport = 3\n')
    settings = load({"port": 30}, {"ROPEWALK_PORT": "31", "ROPEWALK_LIMIT_WALL": "20s"}, tmp_path)
    assert (settings.limit_cpu, settings.limit_wall, settings.port) == (1.0, 20.0, 30)
    assert settings.sources["limit_cpu"] == f"file {file}"
    assert settings.sources["limit_wall"] == "variable ROPEWALK_LIMIT_WALL"
    assert settings.sources["port"] == "flag --port"
    assert settings.sources["host"] == "default"


def test_the_file_of_the_nearest_parent_counts(tmp_path: Path) -> None:
    (tmp_path / "ropewalk.toml").write_text("port = 1\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert load({}, {}, below).port == 1
    (tmp_path / "a" / "ropewalk.toml").write_text("port = 2\n")
    assert load({}, {}, below).port == 2


def test_a_flag_that_was_not_given_and_an_empty_variable_set_nothing(tmp_path: Path) -> None:
    settings = load({"port": None}, {"ROPEWALK_PORT": ""}, tmp_path)
    assert settings.port == 8420


def test_a_database_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "ropewalk.toml").write_text('database = "sqlite:///data/walk.db"\n')
    below = tmp_path / "below"
    below.mkdir()
    assert load({}, {}, below).database_path == tmp_path / "data" / "walk.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///./ropewalk.db", "ropewalk.db"),
        ("sqlite:////var/lib/ropewalk.db", "/var/lib/ropewalk.db"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("plain.db", "plain.db"),
        ("/abs/plain.db", "/abs/plain.db"),
    ],
)
def test_sqlite_urls(url: str, path: str) -> None:
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url", ["postgresql://localhost/x", "sqlite://host/x.db", "sqlite:///", "sqlite:///:memory:", "", "dir/"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="use sqlite:///"):
        sqlite_path(url)


def test_bundles_lie_beside_the_database() -> None:
    assert Settings(database="sqlite:////srv/walk.db").bundles_directory == Path("/srv/walk.db-bundles")


@pytest.mark.parametrize(
    ("text", "size"),
    [("128MiB", 134217728), ("1.5GiB", 1610612736), ("500kB", 500_000), ("2 kib", 2048), ("7", 7), (7, 7), ("10B", 10)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "12 potatoes", "-5", 0, -1, 0.5, "0.3B", True, None, [1], "1e3", "\uff11MiB"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a size|whole number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5m", 90), ("250ms", 0.25), ("2h", 7200), ("0.5", 0.5), (3, 3), ("1d", 86400)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", 0, float("inf"), float("nan"), False, "ten seconds", {}])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|finite duration"):
        parse_duration(text)


def test_patterns_are_comma_separated_or_an_array(tmp_path: Path) -> None:
    wanted = ("http://127.0.0.1:8080/*", "http://10.0.0.1/*")
    assert load({}, {"ROPEWALK_ALLOW_PRIVATE": "http://127.0.0.1:8080/*, http://10.0.0.1/*,"}, tmp_path).allow_private == wanted
    (tmp_path / "ropewalk.toml").write_text('allow_private = ["http://127.0.0.1:8080/*", "http://10.0.0.1/*"]\n')
    assert load({}, {}, tmp_path).allow_private == wanted


def test_a_pattern_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"allow_private .*'http://127.0.0.1:\*/\*' is no URL pattern: .*port"):
        load({}, {"ROPEWALK_ALLOW_PRIVATE": "http://127.0.0.1:*/*"}, tmp_path)


def test_an_unknown_variable_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ROPEWALK_LIMIT_CPUS is no setting: the nearest is ROPEWALK_LIMIT_CPU"):
        load({}, {"ROPEWALK_LIMIT_CPUS": "1"}, tmp_path)


def test_an_unknown_key_of_the_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "ropewalk.toml").write_text("limit_memry = 1\n")
    with pytest.raises(SettingsError, match=r"ropewalk\.toml: 'limit_memry' is no setting: the nearest is limit_memory"):
        load({}, {}, tmp_path)


def test_a_value_that_does_not_fit_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"port \(variable ROPEWALK_PORT\): 'eighty' is no whole number from 0 to 65535"):
        load({}, {"ROPEWALK_PORT": "eighty"}, tmp_path)
    (tmp_path / "ropewalk.toml").write_text("limit_cpu = [1]\n")
    with pytest.raises(SettingsError, match=r"limit_cpu \(file .*\): \[1\] is not a duration such as 90s"):
        load({}, {}, tmp_path)


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ropewalk.toml").write_text("port = \n")
    with pytest.raises(SettingsError, match=r"ropewalk\.toml cannot be read"):
        load({}, {}, tmp_path)
