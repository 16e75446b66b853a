"""How a method's end is told: its result, or what it raised, and whether that is tried again."""

from __future__ import annotations

import os
import signal

import pytest

from ropewalk.wire.messages import Fetch, Finished, HttpAnswer
from tests.guest.playing import IN_BOTH_MODES, Gone, MakeVersion

pytestmark = IN_BOTH_MODES


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("return None", b"null"),
        ("pass", b"null"),
        ("return {'a': (1, {2})}", b'{"a":[1,[2]]}'),
        ("return Callback('cb_1')", b'"cb_1"'),
        ("from datetime import date; return date(2030, 1, 2)", b'"2030-01-02"'),
        ("return 10 ** 30", b"1" + b"0" * 30),
        ("return 'x' * 1_000_000", b'"' + b"x" * 1_000_000 + b'"'),
    ],
)
def test_a_result_is_told_in_its_json_form(twist: MakeVersion, code: str, result: bytes) -> None:
    with twist(f"async def main(self):\n    {code}").attempt() as guest:
        assert guest.last_word() == Finished(result=result)


@pytest.mark.parametrize(
    ("code", "kind", "error", "words"),
    [
        ("return print", "unretried", "NotSerializable", "the result of 'main'"),
        ("return float('nan')", "unretried", "NotSerializable", "it is nan"),
        ("return 'x' * 2_000_000", "unretried", "ValueTooLarge", "2,000,002 bytes and may have 1,048,576"),
        ("raise ValueError('x')", "error", "ValueError", "x"),
        ("raise GiveUp('enough')", "give_up", "GiveUp", "enough"),
        ("raise Retry(after=2.5)", "retry", "Retry", "retry after 2.5"),
        ("sys.exit(3)", "error", "SystemExit", "3"),
        ("raise KeyboardInterrupt", "error", "KeyboardInterrupt", ""),
        ("raise asyncio.CancelledError('stop')", "error", "CancelledError", "stop"),
        ("await self.main()", "error", "RecursionError", "maximum recursion"),
        ("await asyncio.sleep(0); sys.exit(3)", "error", "SystemExit", "3"),
        ("await asyncio.sleep(0); raise asyncio.CancelledError", "error", "CancelledError", ""),
        ("raise ExceptionGroup('two', [ValueError(1), GiveUp('enough')])", "give_up", "ExceptionGroup", "two (2 sub-exceptions)"),
        ("raise StopIteration", "error", "RuntimeError", "coroutine raised StopIteration"),
        ("await None", "error", "TypeError", "NoneType"),
    ],
)
def test_what_a_method_raises_is_told(twist: MakeVersion, code: str, kind: str, error: str, words: str) -> None:
    with twist(f"async def main(self):\n    {code}").attempt() as guest:
        raised = guest.raised()
        assert (raised.kind, raised.type) == (kind, error)
        assert words in raised.message


def test_retry_says_when(twist: MakeVersion) -> None:
    body = "async def main(self):\n    from datetime import timedelta\n    raise Retry(after=timedelta(minutes=1), reason='busy')"
    with twist(body).attempt() as guest:
        raised = guest.raised()
    assert (raised.kind, raised.after, raised.message) == ("retry", 60.0, "busy")


@pytest.mark.parametrize(
    ("status", "headers", "kind", "after"),
    [
        (429, [("Retry-After", "7")], "retry_at_least", 7.0),
        (503, [("retry-after", "Mon, 01 Jan 2001 00:00:00 GMT")], "retry_at_least", 0.0),
        (503, [], "error", None),
        (503, [("Retry-After", "soon")], "error", None),
        (500, [("Retry-After", "7")], "error", None),
    ],
)
def test_a_refused_request_waits_as_long_as_the_server_asks(
    twist: MakeVersion, status: int, headers: list[tuple[str, str]], kind: str, after: float | None
) -> None:
    body = """
    network = Network(urls=["*"])
    async def main(self):
        (await self.network.fetch("https://example.com/a")).raise_for_status()
    """
    with twist(body).attempt() as guest:
        guest.answers[Fetch] = lambda call: HttpAnswer(status=status, headers=headers, body=b"busy", url=call.url)
        raised = guest.raised()
    assert (raised.kind, raised.type, raised.after) == (kind, "HTTPStatusError", after)
    assert raised.message.startswith(f"GET https://example.com/a answered {status}")


def test_a_traceback_shows_the_authors_frames_alone(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        await asyncio.sleep(0)
        try:
            await self.deeper()
        except ValueError as error:
            raise LookupError("outer") from error

    async def deeper(self):
        await self.set("a", {1: float("inf")})
        raise ValueError("inner")
    """
    with twist(body.replace('{1: float("inf")}', "1")).attempt() as guest:
        text = guest.raised().traceback
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.rstrip().endswith("LookupError: outer")
    assert "ValueError: inner" in text
    assert 'raise ValueError("inner")' in text
    assert "ropewalk/guest" not in text
    assert "asyncio/" not in text


def test_the_sdks_own_frames_are_left_out(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    await self.set('a', print)").attempt() as guest:
        text = guest.raised().traceback
    assert "await self.set('a', print)" in text
    assert "ropewalk/sdk" not in text


HOSTILE = {
    "str raises": ("class Bad(Exception):\n    def __str__(self): raise SystemExit(9)", "<its __str__ raised SystemExit>"),
    "str is no text": ("class Bad(Exception):\n    def __str__(self): return 5", "<its __str__ raised TypeError>"),
    "surrogates": ("class Bad(Exception):\n    def __str__(self): return 'a\\ud800'", "a\\ud800"),
    "huge": ("class Bad(Exception):\n    def __str__(self): return 'x' * 50_000_000", "… (50,000,000 characters)"),
    "attributes raise": (
        "class Bad(Exception):\n    def __getattribute__(self, name): raise KeyError(name)\n    def __str__(self): return 'odd'",
        "odd",
    ),
    "text with odd methods": (
        "class Odd(str):\n    def __len__(self): raise ValueError\n    def encode(self, *a, **k): raise ValueError\n"
        "class Bad(Exception):\n    def __str__(self): return Odd('odd')",
        "odd",
    ),
    "metaclass raises": (
        "class Meta(type):\n    def __getattribute__(cls, name): raise ValueError(name)\n"
        "class Bad(Exception, metaclass=Meta):\n    def __str__(self): return 'odd'",
        "odd",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_exception_is_told_all_the_same(module: MakeVersion, name: str) -> None:
    source, words = HOSTILE[name]
    with module(f"{source}\nclass Sample(Twist):\n    async def main(self):\n        raise Bad()").attempt() as guest:
        raised = guest.raised()
        assert words in raised.message
        assert len(raised.message) < 20_000
        assert len(raised.traceback) < 60_000


def test_causes_in_a_circle_end(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        a, b = ValueError("a"), ValueError("b")
        a.__cause__, b.__cause__ = b, a
        raise a
    """
    with twist(body).attempt() as guest:
        assert "ValueError: a" in guest.raised().traceback


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(10 ** 10)",
        "x = []\n    while True: x.append(bytes(100_000))",
        "self.x = []\n    while True: self.x.append(bytes(100_000))",
        "self.x = []\n    while True: self.x.append([])",
        "self.x = {}\n    while True: self.x[str(len(self.x))] = {}",
        "await asyncio.sleep(0)\n    self.x = []\n    while True: self.x.append([])",
    ],
)
def test_too_much_memory_is_told_by_name(twist: MakeVersion, code: str) -> None:
    with twist(f"async def main(self):\n    {code}").attempt(memory=64 * 1024 * 1024) as guest:
        raised = guest.raised()
    assert (raised.kind, raised.type) == ("error", "memory_limit")
    assert "67,108,864 bytes" in raised.message


def test_a_memory_error_cannot_be_caught(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        try:
            bytearray(10 ** 10)
        except BaseException:
            return "less, then"
    """
    with twist(body).attempt(memory=64 * 1024 * 1024) as guest:
        assert guest.raised().type == "memory_limit"


def test_leaving_is_no_last_word(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    os._exit(3)").attempt() as guest:
        with pytest.raises(Gone):
            guest.last_word()
        assert guest.exit_status() == 3


def test_nothing_runs_after_the_last_word(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        import atexit
        atexit.register(os._exit, 5)
        return 1
    """
    with twist(body).attempt() as guest:
        assert guest.result() == 1
        os.kill(guest.pid, signal.SIGKILL)
        assert guest.exit_status() == -signal.SIGKILL


def test_frames_are_bounded_however_deep(twist: MakeVersion) -> None:
    body = """
    async def main(self, depth=0):
        names = {}
        exec("def deep(n):\\n    return deep(n - 1) + " + "1 + " * 200 + "1 if n else 1 / 0", names)
        names["deep"](900)
    """
    with twist(body).attempt() as guest:
        assert len(guest.raised().traceback) < 60_000
