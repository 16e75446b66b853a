"""From what a person writes to the record they mean: names, whole ids, unique beginnings of ids.

A twist is named by its name or id, an instance and an execution by their id or a beginning that no other has; an instance also by its
twist's name while that has exactly one. What cannot be told apart is refused with the candidates, what is not there with what is like it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ropewalk.errors import InvalidValue, NotFound
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import Delivery, Execution, ExecutionQuery, Instance, Twist
from ropewalk.wire.messages import PriorityRecord

_SHOWN = 5


async def find_twist(storage: Storage, text: str) -> Twist:
    """Return the twist with this name or id.

    Raises:
        NotFound: there is none.
    """
    twists = await storage.twists()
    for twist in twists:
        if text in {twist.name, twist.id}:
            return twist
    raise NotFound(f"there is no twist {text!r}{_like(text, [twist.name for twist in twists])}: `ropewalk twists` lists them")


async def find_instance(storage: Storage, text: str) -> Instance:
    """Return the instance with this id, unique beginning of an id, or name of a twist that has one instance.

    Raises:
        NotFound: there is none.
        InvalidValue: there are several.
    """
    found = await storage.instance(text)
    if found is not None:
        return found
    instances = await storage.instances()
    of_twist = [instance for instance in instances if text in {instance.twist_name, instance.twist}]
    if len(of_twist) > 1:
        raise InvalidValue(
            f"twist {text!r} has {len(of_twist)} instances: name one by its id: {_some(one.id for one in of_twist)}"
        )
    beginning = [instance for instance in instances if text and instance.id.startswith(text)]
    if not of_twist and len(beginning) > 1:
        raise InvalidValue(
            f"{len(beginning)} instances begin with {text!r}: write more of it: {_some(one.id for one in beginning)}"
        )
    if of_twist or beginning:
        return (of_twist or beginning)[0]
    names = sorted({instance.twist_name for instance in instances})
    raise NotFound(f"there is no instance {text!r}{_like(text, names)}: `ropewalk instances` lists them")


async def find_instance_id(storage: Storage, text: str) -> str:
    """Return an instance's id as `find_instance` does; one that was deactivated is found by its whole id while its executions are kept.

    Raises:
        NotFound: there is none.
        InvalidValue: there are several.
    """
    try:
        return (await find_instance(storage, text)).id
    except NotFound:
        if await storage.executions(ExecutionQuery(instance=text, limit=1)):
            return text
        raise


async def find_execution(storage: Storage, text: str) -> Execution:
    """Return the execution with this id, or unique beginning of one.

    Raises:
        NotFound: there is none.
        InvalidValue: there are several.
    """
    ids = [text] if await storage.execution(text) is not None else await storage.find("execution", text) if text else []
    if len(ids) > 1:
        raise InvalidValue(f"several executions begin with {text!r}: write more of it: {_some(ids)}")
    found = await storage.execution(ids[0]) if ids else None
    if found is None:
        raise NotFound(f"there is no execution {text!r}: `ropewalk executions` and `ropewalk tasks` list them")
    return found


async def find_delivery(storage: Storage, text: str) -> Delivery:
    """Return the webhook's delivery whose execution has this id, or unique beginning of one.

    Raises:
        NotFound: there is none, or it is forgotten.
        InvalidValue: there are several.
    """
    execution = await find_execution(storage, text)
    found = await storage.delivery(execution.id)
    if found is None:
        raise NotFound(
            f"execution {execution.id} answers no webhook, or its request is forgotten: `ropewalk webhooks` lists them"
        )
    return found


async def find_priority(storage: Storage, text: str | None) -> PriorityRecord:
    """Return the priority with this id or unique beginning of one; the root one for None.

    Raises:
        NotFound: there is none.
        InvalidValue: there are several.
    """
    if text is None:
        return await storage.root_priority()
    priorities = await storage.priorities()
    found = [one for one in priorities if one.id == text] or [one for one in priorities if text and one.id.startswith(text)]
    if len(found) > 1:
        raise InvalidValue(f"{len(found)} priorities begin with {text!r}: write more of it: {_some(one.id for one in found)}")
    if not found:
        raise NotFound(f"there is no priority {text!r}: `ropewalk priorities` lists them")
    return found[0]


def nearest(text: str, names: Iterable[str]) -> str | None:
    """Return the name that `text` may have been meant to be, None when none is like it."""
    return next(iter(difflib.get_close_matches(text, list(names), n=1)), None)


def _like(text: str, names: Iterable[str]) -> str:
    near = nearest(text, names)
    return "" if near is None else f" (did you mean {near!r}?)"


def _some(ids: Iterable[str]) -> str:
    """Return a few ids, and how many are left out."""
    every = list(ids)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
