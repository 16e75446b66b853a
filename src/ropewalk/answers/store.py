"""The host's answers about an instance's store: values by key, a namespace for the twist and for each of its tools."""

from __future__ import annotations

from ropewalk.answers.interface import Session, check_batch, check_json
from ropewalk.clock import Micros
from ropewalk.errors import InvalidValue, ValueTooLarge
from ropewalk.storage.records import DropValue, DropValues, PutValue
from ropewalk.wire.messages import Json, StoreClear, StoreDelete, StoreKeys, StoreRead, StoreWrite

KEY_LIMIT = 512
"""Most bytes of a key in UTF-8."""

ELEMENTS = 1 << 20
"""Most elements of lists and objects in the values of one call, about: one large value's worth."""

_FOREVER = 1 << 62


class StoreOverlay:
    """What the attempt has written so far: by (ns, key) the value and when it expires, None where it was removed.

    Attributes:
        cleared: the prefixes under which everything was removed, by namespace; none of them begins with another.
    """

    __slots__ = ("cleared", "size", "values")

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], tuple[Json, Micros] | None] = {}
        self.cleared: dict[str, tuple[str, ...]] = {}
        self.size = 0

    def hides(self, ns: str, key: str) -> bool:
        """Whether storage's value of this key is no longer to be seen."""
        return (ns, key) in self.values or key.startswith(self.cleared.get(ns, ()))

    def clear(self, ns: str, prefix: str) -> None:
        """Take note that everything under a prefix was removed."""
        cleared = self.cleared.get(ns, ())
        if not prefix.startswith(cleared):
            self.cleared[ns] = (*(one for one in cleared if not one.startswith(prefix)), prefix)


async def store_read(session: Session, call: StoreRead) -> dict[str, Json]:
    """Values of the keys that have one."""
    check_batch(len(call.keys), session.host.limits.batch, "keys")
    overlay = session.overlay(StoreOverlay)
    now = session.host.clock.now()
    found: dict[str, Json] = {}
    unseen: list[str] = []
    for key in call.keys:
        check_key(key)
        if overlay.hides(call.ns, key):
            value = overlay.values.get((call.ns, key))
            if value is not None and value[1] > now:
                found[key] = value[0]
        else:
            unseen.append(key)
    if unseen:
        found.update(await session.host.storage.read_values(session.claim.instance.id, call.ns, unseen, now))
    return found


async def store_write(session: Session, call: StoreWrite) -> None:
    """Write values, for `ttl` seconds where it is given."""
    limits = session.host.limits
    check_batch(len(call.items), limits.batch, "values")
    expires = _expiry(session, call.ttl)
    overlay = session.overlay(StoreOverlay)
    _check_elements(call)
    for key, value in call.items.items():
        check_key(key)
        if len(value) > limits.value:
            raise ValueTooLarge(
                f"the value of {key!r} has {len(value):,} bytes and may have {limits.value:,}: store only what is needed, "
                "or spread it over several keys"
            )
        check_json(value, f"the value of {key!r}")
    await _check_room(session, overlay, call)
    for key, value in call.items.items():
        session.add(PutValue(ns=call.ns, key=key, value=value, expires_at=expires), len(key) + len(value))
        _forget_size(overlay, call.ns, key)
        overlay.values[call.ns, key] = (value, expires or _FOREVER)
        overlay.size += len(key) + len(value)


def _check_elements(call: StoreWrite) -> None:
    """Raise ValueTooLarge when the values are made of so many parts that reading them would hold everyone else up."""
    if sum(map(len, call.items.values())) <= ELEMENTS:
        return  # each part takes a byte, at the least
    elements = sum(value.count(b",") + value.count(b"[") + value.count(b"{") for value in call.items.values())
    if elements > ELEMENTS:
        raise ValueTooLarge(
            f"the values of one call have about {elements:,} elements in all and may have {ELEMENTS:,}: store fewer at once"
        )


async def store_delete(session: Session, call: StoreDelete) -> None:
    """Remove keys."""
    check_batch(len(call.keys), session.host.limits.batch, "keys")
    overlay = session.overlay(StoreOverlay)
    for key in call.keys:
        check_key(key)
        session.add(DropValue(ns=call.ns, key=key), len(key))
        _forget_size(overlay, call.ns, key)
        overlay.values[call.ns, key] = None


async def store_clear(session: Session, call: StoreClear) -> None:
    """Remove every key that begins with the prefix."""
    overlay = session.overlay(StoreOverlay)
    session.add(DropValues(ns=call.ns, prefix=call.prefix), len(call.prefix))
    for ns, key in [at for at in overlay.values if at[0] == call.ns and at[1].startswith(call.prefix)]:
        _forget_size(overlay, ns, key)
        del overlay.values[ns, key]
    overlay.clear(call.ns, call.prefix)


async def store_keys(session: Session, call: StoreKeys) -> list[str]:
    """The keys that begin with the prefix, sorted."""
    overlay = session.overlay(StoreOverlay)
    now = session.host.clock.now()
    limit = session.host.limits.listing
    cleared = overlay.cleared.get(call.ns, ())
    kept: list[str] = []
    if not call.prefix.startswith(cleared):
        most = limit + 1 + len(overlay.values)
        kept = await session.host.storage.read_keys(
            session.claim.instance.id, call.ns, call.prefix, now, without=cleared, limit=most
        )
    keys = {key for key in kept if not overlay.hides(call.ns, key)}
    for (ns, key), value in overlay.values.items():
        if ns == call.ns and key.startswith(call.prefix) and value is not None and value[1] > now:
            keys.add(key)
    if len(keys) > limit:
        raise ValueTooLarge(
            f"more than {limit:,} keys begin with {call.prefix[:80]!r}, and a listing may have no more: ask for a longer prefix"
        )
    return sorted(keys)


def check_key(key: str) -> None:
    """Raise when `key` can be no key: empty, too long, or with a NUL, which databases cannot keep."""
    if not key:
        raise InvalidValue("a key cannot be empty")
    if "\0" in key:
        raise InvalidValue(f"the key {key!r} has a NUL character, which no database can keep: leave it out")
    if len(key) * 4 > KEY_LIMIT and (size := len(key.encode())) > KEY_LIMIT:
        raise ValueTooLarge(f"the key {key[:40]!r}… has {size:,} bytes and may have {KEY_LIMIT}: hash its long part")


def _expiry(session: Session, ttl: float | None) -> Micros | None:
    if ttl is None:
        return None
    if not 0 < ttl < 1e11:
        raise InvalidValue(f"ttl={ttl!r} is no time to live: give seconds or a timedelta above zero")
    return session.host.clock.now() + round(ttl * 1e6)


def _forget_size(overlay: StoreOverlay, ns: str, key: str) -> None:
    previous = overlay.values.get((ns, key))
    if previous is not None:
        overlay.size -= len(key) + len(previous[0])


async def _check_room(session: Session, overlay: StoreOverlay, call: StoreWrite) -> None:
    """Keep the instance's store within its limit.

    First by an estimate that counts overwritten values twice; only when that is over are the old sizes looked up.
    """
    limit = session.host.limits.store
    instance = session.claim.instance
    added = sum(len(key) + len(value) for key, value in call.items.items())
    total = instance.store_bytes + overlay.size + added
    if total <= limit:
        return
    for ns in {ns for ns, _ in overlay.values} | {call.ns}:
        keys = {key for of, key in overlay.values if of == ns}
        if ns == call.ns:
            keys.update(call.items)
        old = await session.host.storage.read_values(instance.id, ns, sorted(keys), 0)
        total -= sum(len(key) + len(value) for key, value in old.items())
    if total > limit:
        raise ValueTooLarge(
            f"the store of this instance would have {total:,} bytes and may have {limit:,}: clear what is no longer needed, or set a ttl"
        )
