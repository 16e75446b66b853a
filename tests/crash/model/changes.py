"""Versions, grants, options, deactivation (G8, G10): an instance is moved by what was deployed, granted and changed, each time as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from tests.crash.model.books import Books, Instance
from tests.harness.checks import rows

BARRIERS = ("activate", "upgrade", "options", "deactivate")


def problems(books: Books) -> Iterator[str]:
    """Yield what does not hold."""
    yield from _deployed(books)
    for instance in books.instances.values():
        yield from _in_its_version(books, instance)
        yield from _undisturbed(books, instance)
        yield from _granted(books, instance)
        yield from _up_to_date(books, instance)
        yield from _options(books, instance)
    yield from _lifecycle(books)


# ── Versions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deployed(books: Books) -> Iterator[str]:
    """Versions have the numbers from 1 on, and are what was deployed, or what was gone back to."""
    if sorted(books.versions) != list(range(1, len(books.versions) + 1)):
        yield f"there are the versions {sorted(books.versions)}"
    for step, number, what in books.acknowledged("deploy"):
        found = books.versions.get(number)
        if found is None or found.code.number != step["code"]["number"]:
            yield f"{what}, and version {number} is another"
    for _, (number, wanted), what in books.acknowledged("rollback"):
        found, older = books.versions.get(number), books.versions[wanted]
        if found is None or (found.bundle, found.manifest) != (older.bundle, older.manifest):
            yield f"{what}, and version {number} is not what version {wanted} is"


def _in_its_version(books: Books, instance: Instance) -> Iterator[str]:
    """What begins runs the code of its instance's version, and only an `upgrade` that succeeds moves that."""
    moved = {one.version for one in books.of(instance.id, "upgrade") if one.status == "succeeded"}
    now = None
    for line in books.begun(instance.id):
        version = line["version"]
        if line["bundle"] != books.versions[version].bundle:
            yield f"{line['began']} began in version {version} and was given another's code"
        if line["trigger"] in ("activate", "upgrade"):
            continue
        if now is not None and version != now and (version < now or version not in moved):
            yield f"{line['began']} began in version {version} of an instance that was in version {now}"
        now = version


def _undisturbed(books: Books, instance: Instance) -> Iterator[str]:
    """From the first attempt of an `upgrade` to its last nothing else of the instance begins."""
    begun = books.begun(instance.id)
    for upgrade in books.of(instance.id, "upgrade"):
        places = [place for place, line in enumerate(begun) if line["began"] == upgrade.id]
        if len(places) > 1 and upgrade.id not in books.retried:
            for line in begun[places[0] : places[-1]]:
                if line["trigger"] not in ("upgrade", "deactivate"):
                    yield f"{line['began']} began amid {upgrade}"


def _granted(books: Books, instance: Instance) -> Iterator[str]:
    """No instance runs a version that asks for what it was not granted: with a version that somebody let in, or by a grant."""
    begun = books.begun(instance.id)
    if not begun:
        return
    own = {line["version"] for line in begun if line["trigger"] == "activate"}
    by_grant = {line["version"] for line in books.lines if line.get("granting") == instance.id}
    let_in = {number for number, version in books.versions.items() if version.grants}
    had = {asked for number in own | by_grant | let_in for asked in books.versions[number].code.asks}
    for number in {line["version"] for line in begun}:
        asked = set(books.versions[number].code.asks)
        if not asked <= had:
            yield f"{instance} ran version {number}, which asks for {asked}, and was granted {had}"


def _up_to_date(books: Books, instance: Instance) -> Iterator[str]:
    """An active instance is in the latest version, or waits to be let into it, or says why it is not."""
    if instance.status != "active" or instance.version == max(books.versions):
        return
    latest = books.versions[max(books.versions)]
    granted = any((id_, number) == (instance.id, latest.number) for _, (id_, number, _), _ in books.acknowledged("grant"))
    if instance.awaiting == latest.number:
        if latest.grants or granted:
            yield f"{instance} waits for a grant of version {latest.number}, which it has"
    elif instance.upgrade_error is None:
        yield f"{instance} is not in version {latest.number}, the latest, and does not say why"
    elif not latest.code.upgrade:
        yield f"{instance} is not in version {latest.number}: {instance.upgrade_error}"


# ── Options ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _options(books: Books, instance: Instance) -> Iterator[str]:
    """Each change is told once, in order, with what was before; those that were acknowledged are all there; and what begins after a change
    has it, and finds the instance told.
    """
    given = [step["tone"] for step, id_, _ in books.acknowledged("activate") if id_ == instance.id]
    if not given:
        return
    hooks = books.of(instance.id, "options")
    wanted = list(dict.fromkeys(line["tone"] for line in books.lines if line.get("changing") == instance.id))
    sure = {step["tone"] for step, (id_, _), _ in books.acknowledged("options") if id_ == instance.id}
    seen = sure | {line["tone"] for line in books.begun(instance.id)}
    were = [one.event[0]["tone"] for one in hooks]
    now = instance.tone or next((tone for tone in reversed(wanted) if tone in seen), given[0])  # those of who left are erased
    values = were if now in were else [*were, now]
    made = values[1:]
    if values[0] != given[0]:
        yield f"{instance} began with the options {given[0]}, and changed from {values[0]}"
    if made != [tone for tone in wanted if tone in made]:
        yield f"{instance} was told of {were} and has {now}: its options were changed to {wanted}"
    if lost := sure - set(made):
        yield f"{instance} was changed to {lost}, and was told of {were} and has {now}"
    yield from _begun_with(books, instance, [*given, *made], [one.id for one in hooks])


def _begun_with(books: Books, instance: Instance, tones: list[str], hooks: list[str]) -> Iterator[str]:
    """What begins has the options of one change after another, and comes after the instance was told of them."""
    place, began = 0, set[str]()
    for line in books.begun(instance.id):
        began.add(line["began"])
        if line["tone"] not in tones[place:]:
            yield f"{line['began']} began with the options {line['tone']}, and {tones[place]} were in force"
            return
        place = tones.index(line["tone"])
        if line["began"] in hooks and place <= hooks.index(line["began"]):
            yield f"{line['began']} tells of a change of options, and began with {line['tone']}, from before it"
        if line["trigger"] not in BARRIERS and not set(hooks[:place]) <= began:
            yield f"{line['began']} began with the options {line['tone']}, of which its instance was not told"


# ── Activation and deactivation ───────────────────────────────────────────────────────────────────────────────────────────────

_LEFTOVERS = """
    SELECT instance FROM store UNION SELECT instance FROM callbacks UNION SELECT instance FROM webhooks UNION SELECT instance FROM recurring
    UNION SELECT instance FROM records UNION SELECT instance FROM secrets UNION SELECT instance FROM data_keys
    """


def _lifecycle(books: Books) -> Iterator[str]:
    leftovers = set(rows(books.database, _LEFTOVERS))
    for _, id_, what in books.acknowledged("activate", "deactivate"):
        if id_ not in books.instances:
            yield f"{what}, and its instance {id_} is not there"
    for _, id_, what in books.acknowledged("deactivate"):
        if books.instances[id_].status != "erased":
            yield f"{what}, and its instance is {books.instances[id_].status}"
    for instance in books.instances.values():
        unfit = instance.status == "failed" and any(one.status == "dead" for one in books.of(instance.id, "activate"))
        if instance.status not in ("active", "erased") and not unfit:
            yield f"{instance} is neither active nor erased"
        for kind in ("activated", "deactivated"):
            if books.titles[f"{kind}:{instance.id}"] > 1:
                yield f"{instance} was {kind} {books.titles[f'{kind}:{instance.id}']} times"
        if instance.status == "active" and books.titles[f"activated:{instance.id}"] != 1:
            yield f"{instance} is active, and was never activated"
        if instance.status == "erased":
            if instance.id in leftovers:
                yield f"{instance} is erased, and not everything of it"
            yield from _after(books, instance)
    for title, count in books.titles.items():
        if title.startswith("upgraded:"):
            _, _, version, code = title.split(":")
            if count > 1:
                yield f"{title} happened {count} times"
            if books.versions[int(version)].code.number != int(code):
                yield f"{title}: version {version} has another code"


def _after(books: Books, instance: Instance) -> Iterator[str]:
    """Nothing of an instance begins after its `deactivate`."""
    is_over = False
    for line in books.begun(instance.id):
        if line["trigger"] == "deactivate":
            is_over = True
        elif is_over:
            yield f"{line['began']} began after its instance was deactivated"
