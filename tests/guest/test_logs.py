"""What a method prints and logs becomes lines of its execution."""

from __future__ import annotations

import logging

import msgspec
import pytest

from tests.guest.playing import MakeVersion

INFO, WARNING = logging.INFO, logging.WARNING

WRITTEN: dict[str, tuple[str, list[tuple[int, str]] | None]] = {
    "print": ("print('a', 1)", [(INFO, "a 1")]),
    "several lines": ("print('a\\nb')", [(INFO, "a"), (INFO, "b")]),
    "empty line": ("print()", [(INFO, "")]),
    "unfinished line": ("print('a', end=''); sys.stdout.flush(); print('b', end='')", [(INFO, "ab")]),
    "bytes": ("sys.stdout.buffer.write(b'a\\n\\xff\\n')", [(INFO, "a"), (INFO, "\ufffd")]),
    "surrogates": ("print('a\\ud800')", [(INFO, "a\\ud800")]),
    "standard error": ("print('a', file=sys.stderr)", [(WARNING, "a")]),
    "a warning": ("import warnings; warnings.simplefilter('always'); warnings.warn('odd')", None),
    "log": ("self.log.info('a %s', 1)", [(INFO, "a 1")]),
    "log debug": ("self.log.debug('a')", [(logging.DEBUG, "a")]),
    "log with surrogates": ("self.log.info('a\\ud800')", [(INFO, "a\\ud800")]),
    "library info": ("logging.getLogger('lib').info('a')", [(INFO, "a")]),
    "library debug": ("logging.getLogger('lib').debug('a')", []),
    "root": ("logging.error('a')", [(logging.ERROR, "a")]),
    "wrong arguments": ("self.log.info('%d', 'x')", [(INFO, "'%d' (could not be formatted: TypeError)")]),
    "a thread": ("await asyncio.to_thread(print, 'a')", [(INFO, "a")]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_becomes_lines(twist: MakeVersion, name: str) -> None:
    code, expected = WRITTEN[name]
    with twist(f"async def main(self):\n    {code}").attempt() as guest:
        guest.result()
        lines = [(line.level, line.message) for line in guest.logs]
    if expected is None:
        assert all(level == WARNING for level, _ in lines)
        assert "odd" in lines[0][1]
    else:
        assert lines == expected


def test_extra_becomes_fields(twist: MakeVersion) -> None:
    code = "self.log.info('a', extra={'number': 1, 'set': {2}, 'odd': object, 'nan': float('nan'), 'text': 'a\\ud800'})"
    with twist(f"async def main(self):\n    {code}\n    self.log.info('b', extra={{'one': [1]}})").attempt() as guest:
        guest.result()
        odd, plain = (msgspec.json.decode(line.fields or b"") for line in guest.logs)
    assert plain == {"one": [1]}
    assert odd["odd"] == "<class 'object'>"
    assert set(odd) == {"number", "set", "odd", "nan", "text"}


def test_an_exception_is_logged_with_its_traceback(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        try:
            1 / 0
        except ZeroDivisionError:
            self.log.exception("failed")
    """
    with twist(body).attempt() as guest:
        guest.result()
        (line,) = guest.logs
    assert line.level == logging.ERROR
    assert line.message.startswith("failed\nTraceback")
    assert "1 / 0" in line.message


def test_lines_come_while_the_method_runs_and_before_it_dies(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    print('last')\n    os.kill(os.getpid(), 9)").attempt() as guest:
        assert guest.receive().message == "last"  # type: ignore[union-attr]
        assert guest.exit_status() == -9


def test_times_are_those_of_the_lines(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    print('a')\n    self.log.info('b')").attempt() as guest:
        guest.result()
        first, second = (line.time for line in guest.logs)
    assert 0 <= second - first < 10_000_000


def test_a_loop_that_prints_is_cut(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    for _ in range(100_000): print('x' * 68)").attempt(logs=10_000) as guest:
        guest.result()
        assert len(guest.logs) == 101


@pytest.mark.parametrize(
    "code", ["print('x' * 10_000_000)", "print('x' * 10_000_000, end='')", "self.log.info('x' * 10_000_000)"]
)
def test_one_enormous_line_is_cut(twist: MakeVersion, code: str) -> None:
    with twist(f"async def main(self):\n    {code}\n    print('y')").attempt(logs=10_000) as guest:
        guest.result()
        (line,) = guest.logs
    assert len(line.message) == 10_001


def test_logging_that_the_module_sets_up_is_kept_apart_from_ours(module: MakeVersion) -> None:
    source = """
    logging.basicConfig(level=logging.DEBUG)
    print("at import")
    class Sample(Twist):
        async def main(self):
            logging.getLogger("lib").debug("a")
    """
    with module(source).attempt() as guest:
        guest.result()
        assert [(line.level, line.message) for line in guest.logs] == [(logging.DEBUG, "a")]


def test_lines_written_in_a_method_that_fails_are_told(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    print('a', end='')\n    raise ValueError").attempt() as guest:
        guest.raised()
        assert guest.lines() == ["a"]


@pytest.mark.parametrize(
    "code", ["sys.stdout.close()", "sys.stderr.detach()", "sys.stdout = None", "logging.getLogger().handlers.clear()"]
)
def test_an_author_who_takes_the_streams_away_harms_himself_alone(twist: MakeVersion, code: str) -> None:
    with twist(f"async def main(self):\n    {code}\n    return 1").attempt() as guest:
        assert guest.result() == 1


def test_threads_that_print_at_once_do_not_garble_the_wire(twist: MakeVersion) -> None:
    body = """
    def chatter(self, number):
        for _ in range(200):
            self.log.info("x" * number)

    async def main(self):
        talking = [asyncio.to_thread(self.chatter, number) for number in range(1, 9)]
        return len(await asyncio.gather(*talking, *[self.set(str(n), "y" * 10_000) for n in range(50)]))
    """
    with twist(body).attempt(logs=10_000_000) as guest:
        assert guest.result() == 58
        assert len(guest.logs) == 1_600
