"""G11: every execution says how it came about, and what was said and sent is taken down: its attempts, requests, log lines and records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.crash.model.books import OVER, Books, Execution
from tests.crash.versions import ATTEMPTS, SECRET
from tests.harness.checks import rows

_KEPT = "SELECT id FROM executions WHERE n IN (SELECT execution FROM records UNION SELECT execution FROM deliveries)"


def problems(books: Books) -> Iterator[str]:
    """Yield what does not hold."""
    for left in books.past & set(rows(books.database, _KEPT)):
        yield f"the record or delivery of {left}, of long ago, is not forgotten"
    for one in books.executions:
        yield from _attempts(books, one)
    yield from _requests(books)
    yield from _taken_down(books)


def _attempts(books: Books, one: Execution) -> Iterator[str]:
    kept = books.attempts[one.n]
    numbers = [number for number, *_ in kept]
    expected = list(range(1, one.attempt + (one.status != "succeeded")))
    if one.status in OVER and numbers != expected:
        yield f"{one} has attempts {numbers}, and should have {expected}"
    if sum(status == "lost" for _, status, *_ in kept) != one.lost and one.id not in books.retried:
        yield f"{one} was lost {one.lost} times, and its attempts say otherwise"
    if one.id in books.retried or one.spec.get("part"):
        return
    failed = sum(status == "failed" for _, status, *_ in kept)
    if failed > ATTEMPTS:
        yield f"{one} failed {failed} times, and may {ATTEMPTS} times"
    if one.status == "dead" and one.spec.get("fails") == ["error"] * 40 and failed < ATTEMPTS:
        yield f"{one} is dead after {failed} failures"


# ── Requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _requests(books: Books) -> Iterator[str]:
    """Requests are sent by attempts that have begun, once by each, under one key; and what is settled was served."""
    began = {(line["began"], line["attempt"]): line for line in books.lines if "began" in line}
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for request in books.served:
        of = (request["execution"], request["attempt"])
        keys[request["execution"]].add(request["key"])
        attempt = began.get(of)
        if attempt is None or attempt["at"] > request["at"]:
            yield f"attempt {of[1]} of {of[0]} sent a request and had not begun"
        elif request["token"] != SECRET + attempt["tone"]:
            yield f"attempt {of[1]} of {of[0]} began with the secret {attempt['tone']}, and sent {request['token']}"
        elif request["code"] != books.versions[attempt["version"]].code.number:
            yield f"attempt {of[1]} of {of[0]} began in version {attempt['version']}, and ran the code {request['code']}"
    times = Counter(
        (line["began"], line["attempt"]) for line in books.lines if "began" in line
    )  # more than one: with the power went a claim
    for of, count in Counter((request["execution"], request["attempt"]) for request in books.served).items():
        if count > max(1, times[of]):
            yield f"attempt {of[1]} of {of[0]} sent its request {count} times"
    for one in books.executions:
        if len(keys[one.id]) > 1:
            yield f"{one} sent requests under the keys {keys[one.id]}"
        if one.status == "succeeded" and one.spec.get("fetch") and not keys[one.id]:
            yield f"{one} was settled, and its request never served"


# ── Log lines and records ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _taken_down(books: Books) -> Iterator[str]:
    """What is settled left one line in the log, and a record while its instance is there; what was lost has no record."""
    lines = Counter(rows(books.database, "SELECT execution, attempt FROM logs WHERE message IN (SELECT id FROM executions)"))
    records = set(rows(books.database, "SELECT execution, attempt FROM records"))
    for one in books.executions:
        ended = {number: status for number, status, *_ in books.attempts[one.n]}
        if one.status == "succeeded":
            ended[one.attempt] = "succeeded"
        for number, status in ended.items():
            of = (one.n, number)
            if lines[of] != 1 and not (status in ("lost", "cancelled") and lines[of] == 0):
                yield f"attempt {number} ({status}) of {one} left {lines[of]} lines in the log"
            if one.instance in books.left or status == "cancelled":
                continue
            if (of in records) != (status != "lost"):
                yield f"attempt {number} of {one} is {status}, and has {'a' if of in records else 'no'} record"
