"""The host's answers about callbacks: durable references to methods, named by tokens that cannot be guessed.

A token is made from the instance's secret and what it stands for, so that the same method with equal bound arguments gives the same
callback without anything being looked up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from ropewalk.answers.interface import Session, check_json
from ropewalk.errors import CallbackNotFound, InvalidValue, QueueFull, ValueTooLarge
from ropewalk.storage.records import DropCallback, DropCallbacks, PutCallback
from ropewalk.wire.messages import CallbackCreate, CallbackDelete, CallbackResolve, Target

TOKEN_PREFIX = "cb_"  # noqa: S105 — what a callback's token is known by, no secret
_UNBOUND = b"[[],{}]"
_decode_arguments = msgspec.json.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]).decode


class CallbackOverlay:
    """Callbacks that the attempt made (their target) or deleted (None), by token; and which of them storage has, where that is known."""

    __slots__ = ("stored", "targets")

    def __init__(self) -> None:
        self.targets: dict[str, tuple[str, Target] | None] = {}
        self.stored: dict[str, bool] = {}

    def added(self) -> int:
        """Return how many callbacks more than stored ones there are now, once it is known of each whether it is stored."""
        return sum((target is not None) - self.stored[token] for token, target in self.targets.items())


async def callback_create(session: Session, call: CallbackCreate) -> str:
    """Make a callback and return its token."""
    check_target(session, call.target)
    token = callback_token(session.claim.instance.secret, call.ns, call.target)
    overlay = session.overlay(CallbackOverlay)
    await _check_room(session, overlay, token)
    overlay.targets[token] = (call.ns, call.target)
    effect = PutCallback(ns=call.ns, token=token, target=call.target, at=session.host.clock.now())
    session.add(effect, len(call.target.arguments) + 64)
    return token


async def _check_room(session: Session, overlay: CallbackOverlay, token: str) -> None:
    """Raise QueueFull when this would be one callback more than the instance may have; one that is there already is none."""
    instance, limit = session.claim.instance, session.host.limits.callbacks
    if instance.callbacks + len(overlay.targets) < limit:
        return
    for one in {token, *overlay.targets} - overlay.stored.keys():
        overlay.stored[one] = await session.host.storage.callback(instance.id, one) is not None
    is_there = overlay.targets[token] is not None if token in overlay.targets else overlay.stored[token]
    have = instance.callbacks + overlay.added()
    if have >= limit and not is_there:
        raise QueueFull(f"this instance has {have:,} callbacks and may have {limit:,}: delete_callback() those that are over")


async def callback_resolve(session: Session, call: CallbackResolve) -> Target:
    """What a token stands for."""
    return await resolve(session, call.token)


async def callback_delete(session: Session, call: CallbackDelete) -> None:
    """Forget one callback, or all that the namespace made."""
    overlay = session.overlay(CallbackOverlay)
    if call.token is not None:
        session.add(DropCallback(token=call.token), len(call.token))
        overlay.targets[call.token] = None
        return
    session.add(DropCallbacks(ns=call.ns))
    for token in await session.host.storage.callback_tokens(session.claim.instance.id, call.ns):
        overlay.targets[token] = None
        overlay.stored[token] = True
    for token, made in overlay.targets.items():
        if made is not None and made[0] == call.ns:
            overlay.targets[token] = None


async def resolve(session: Session, token: str) -> Target:
    """Return the target of a callback of this instance.

    Raises:
        CallbackNotFound: it was deleted or never made.
    """
    overlay = session.overlay(CallbackOverlay)
    if token in overlay.targets:
        made = overlay.targets[token]
        target = made[1] if made is not None else None
    else:
        target = await session.host.storage.callback(session.claim.instance.id, token)
    if target is None:
        raise CallbackNotFound(f"there is no callback {token[:48]!r}: it was deleted, or is another instance's")
    return target


def callback_token(secret: bytes, ns: str, target: Target) -> str:
    """Return the token of a callback that the namespace `ns` makes of `target`."""
    stands_for = msgspec.msgpack.encode((ns, target.ns, target.method, target.arguments))
    digest = hmac.digest(secret, stands_for, hashlib.sha256)[:20]
    return TOKEN_PREFIX + base64.b32encode(digest).decode().lower()


def check_target(session: Session, target: Target) -> None:
    """Raise when `target` is no method of the running version, or its arguments are not as they should be."""
    if not any(method.ns == target.ns and method.name == target.method for method in session.manifest.methods):
        where = f"the tool {target.ns!r}" if target.ns else session.manifest.cls
        raise CallbackNotFound(f"{where} has no method {target.method!r} that can be called back")
    if target.arguments != _UNBOUND:
        check_arguments(session, target)


def check_arguments(session: Session, target: Target) -> None:
    """Raise when the arguments are no JSON of `[[…], {…}]`, or too large."""
    limit = session.host.limits.value
    if len(target.arguments) > limit:
        raise ValueTooLarge(
            f"the arguments of {target.method}() have {len(target.arguments):,} bytes and may have {limit:,}: "
            "keep large values in the store and pass their keys"
        )
    check_json(target.arguments, f"the arguments of {target.method}()")
    try:
        _decode_arguments(target.arguments)
    except msgspec.ValidationError:
        text = f"the arguments of {target.method}() are not a list of positions and an object of names"
        raise InvalidValue(text) from None
