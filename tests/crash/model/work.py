"""G2, G3, G4, G5: what was acknowledged ran or was ended by somebody, once and as a whole or not at all, one at a time, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.crash.model.books import OVER, RECURRING, Books, Execution
from tests.harness.checks import rows


def problems(books: Books) -> Iterator[str]:
    """Yield what does not hold."""
    yield from _acknowledged(books)
    yield from _over(books)
    yield from _once(books)
    yield from _asked_for(books)
    yield from _in_order(books)
    yield from _one_at_a_time(books)


# ── G3: what was acknowledged ran, or was ended by somebody ───────────────────────────────────────────────────────────────────


def _acknowledged(books: Books) -> Iterator[str]:
    for _, answer, what in books.acknowledged("invoke", "cancel", "retry"):
        if answer not in books.by_id:
            yield f"{what}, and its execution {answer} is not there"
    for _, (execution, _), what in books.acknowledged("deliver"):
        if execution not in books.by_id:
            yield f"{what}, and its execution {execution} is not there"
    for step, instance, what in books.acknowledged("set"):
        if instance not in books.left and not books.stored[instance, step["key"]]:
            yield f"{what}, and {step['key']} is not there"
    for _, answer, what in books.acknowledged("cancel"):
        one = books.by_id.get(answer)
        if one is not None and one.status != "cancelled" and one.id not in books.retried:
            yield f"{what}, and {one} is not cancelled"


def _over(books: Books) -> Iterator[str]:
    for one in books.executions:
        if one.status not in OVER and not (one.method in RECURRING and one.status == "queued"):
            yield f"{one} of {books.instances.get(one.instance)} is not over"
        if one.status in ("dead", "failed") and not _may_fail(books, one):
            yield f"{one} had no reason to fail: {one.error}"
        if one.status == "cancelled" and not _may_be_cancelled(books, one):
            yield f"{one} was cancelled by nobody"


def _may_fail(books: Books, one: Execution) -> bool:
    """Whether an execution was told to fail: by what was asked of it, by its version's code, or by the options that it began with."""
    if one.trigger == "upgrade":
        return bool(books.versions[one.version].code.upgrade)
    if one.trigger in ("options", "activate", "deactivate"):
        ways = {"options": ":dead", "activate": ":unfit", "deactivate": ":stay"}
        return any(ways[one.trigger] in line["tone"] for line in books.begun(one.instance) if line["began"] == one.id)
    return bool(one.spec.get("fails"))


def _may_be_cancelled(books: Books, one: Execution) -> bool:
    """Whether somebody ended an execution, or it was ended as it may be: superseded by a newer upgrade, or, before it ever started, its key
    taken or its schedule gone with an upgrade.
    """
    if one.id in books.cancelled or one.instance in books.left or one.trigger == "upgrade":
        return True
    ended = one.instance in books.unscheduled or (one.method == "daily" and bool(books.of(one.instance, "upgrade")))
    return one.attempt == 0 and (one.key is not None or (one.method in RECURRING and ended))


# ── G2, G4: once and as a whole, or not at all ────────────────────────────────────────────────────────────────────────────────

_TWICE_DUE = "SELECT cause, run_at FROM executions WHERE method IN ('tick', 'daily') GROUP BY cause, run_at HAVING count(*) > 1"
_DELIVERED_TWICE = """
    SELECT delivery FROM deliveries WHERE delivery IS NOT NULL GROUP BY instance, webhook, delivery HAVING count(*) > 1
    """
_LEFT_BY = {"work": "ran", "hook": "hook", "tick": "tick", "daily": "tick", "options_changed": "told"}
"""What each method makes an activity of, under the execution's id."""


def _once(books: Books) -> Iterator[str]:
    for one in books.executions:
        if one.method in _LEFT_BY:
            yield from _done_once(books, one)
    known = {one.id for one in books.executions} | books.past
    for title in books.titles:
        kind, *_, id_ = title.split(":")
        if kind in ("part", *_LEFT_BY.values()) and id_ not in known:
            yield f"{title} was done by nobody"
    if twice := rows(books.database, _TWICE_DUE):
        yield f"a tick has two runs: {twice}"
    if twice := rows(books.database, _DELIVERED_TWICE):
        yield f"deliveries were taken twice: {twice}"
    hooks = Counter(
        title.rsplit(":", 1)[0] + one.instance
        for one in books.executions
        if one.method == "hook" and not one.cause.startswith("redelivery of")
        for title in books.titles
        if title.startswith("hook:") and title.endswith(one.id)
    )
    for title, count in hooks.items():
        if count > 1:
            yield f"{title} ran {count} times"


def _done_once(books: Books, one: Execution) -> Iterator[str]:
    did, part = books.count(_LEFT_BY[one.method], of=one.id), books.count("part", of=one.id)
    partly = bool(one.spec.get("part"))
    if one.status == "succeeded" and did != 1:
        yield f"{one} succeeded, and what it did is there {did} times"
    if one.status != "succeeded" and did > (1 if partly else 0):
        yield f"{one} did not succeed, and what it did is there {did} times"
    if partly and part != (1 if one.status == "succeeded" else 0):
        yield f"{one} has two parts, and what the second did is there {part} times"
    if one.method == "work" and one.instance not in books.left and books.stored[one.instance, f"ran:{one.name}"] > 1:
        yield f"{one} counted itself {books.stored[one.instance, f'ran:{one.name}']} times"


def _asked_for(books: Books) -> Iterator[str]:
    """Tasks are there if, and only if, who asked for them succeeded."""
    asked = Counter((one.cause, one.name) for one in books.executions)
    for one in books.executions:
        for kid in one.spec.get("kids", ()):
            there = asked[one.id, kid["name"]]
            if one.status != "succeeded" and there:
                yield f"{one} did not succeed, and {kid['name']} is there {there} times"
            elif one.status == "succeeded" and one.instance not in books.left and there != 1 and kid["key"] is None:
                yield f"{one} asked for {kid['name']}, which is there {there} times"
            elif there > 1:
                yield f"{one} asked once for {kid['name']}, which is there {there} times"


# ── G5: in order, one at a time ───────────────────────────────────────────────────────────────────────────────────────────────


def _in_order(books: Books) -> Iterator[str]:
    for instance, order in books.orders.items():
        place = {name: index for index, name in enumerate(order)}
        mine = [one for one in books.executions if one.instance == instance and one.name in place]
        plain = [
            one
            for one in mine
            if one.kid and not one.spec.get("fails") and one.kid["key"] is None and one.id not in books.retried
        ]
        at_once = [one for one in plain if one.kid["delay"] is None]
        later = sorted((one for one in plain if one.kid["delay"] is not None), key=lambda one: (one.run_at, one.n))
        for group in [later, *([one for one in at_once if one.cause == cause] for cause in {one.cause for one in at_once})]:
            places = [place[one.name] for one in group]
            if places != sorted(places):
                yield f"out of order: {[one.name for one in group]} ran at {places}"


def _one_at_a_time(books: Books) -> Iterator[str]:
    runs: dict[tuple[int, str], str] = {}
    for line in books.lines:
        if "began" in line:
            place = (line["life"], line["instance"])
            if place in runs and runs[place] not in books.cancelled:  # which goes on for a moment, and in vain
                yield f"{line['began']} began while {runs[place]} of the same instance ran"
            runs[place] = line["began"]
        elif "ended" in line:
            runs.pop((line["life"], line["instance"]), None)
