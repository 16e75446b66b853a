"""Ropewalk runs twists: small async Python programs, sandboxed, durable, driven by events.

This is what authors import. Names are imported when they are first used, so that the command line does not pay for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ropewalk.errors import (
        CallbackNotFound as CallbackNotFound,
        FetchTimeout as FetchTimeout,
        GiveUp as GiveUp,
        HTTPStatusError as HTTPStatusError,
        InvalidValue as InvalidValue,
        NetworkDenied as NetworkDenied,
        NetworkError as NetworkError,
        NotFound as NotFound,
        NotSerializable as NotSerializable,
        PermissionDenied as PermissionDenied,
        QueueFull as QueueFull,
        RequestLimitExceeded as RequestLimitExceeded,
        Retry as Retry,
        RopewalkError as RopewalkError,
        ValueTooLarge as ValueTooLarge,
    )
    from ropewalk.sdk.execution import Execution as Execution
    from ropewalk.sdk.http import Response as Response
    from ropewalk.sdk.marks import on as on
    from ropewalk.sdk.options import Options as Options
    from ropewalk.sdk.records import (
        Activity as Activity,
        ActivityRef as ActivityRef,
        ActivityType as ActivityType,
        Link as Link,
        NewActivity as NewActivity,
        NewNote as NewNote,
        Note as Note,
        Page as Page,
        Priority as Priority,
    )
    from ropewalk.sdk.renames import renamed_from as renamed_from
    from ropewalk.sdk.secrets import Secret as Secret, secret as secret
    from ropewalk.sdk.settings import Limits as Limits, RetryPolicy as RetryPolicy, retry as retry
    from ropewalk.sdk.tokens import Callback as Callback, TaskToken as TaskToken
    from ropewalk.sdk.tool import Tool as Tool
    from ropewalk.sdk.twist import Twist as Twist
    from ropewalk.sdk.webhooks import WebhookRequest as WebhookRequest, WebhookResponse as WebhookResponse

_WHERE = {
    "ropewalk.errors": (
        "CallbackNotFound FetchTimeout GiveUp HTTPStatusError InvalidValue NetworkDenied NetworkError NotFound NotSerializable "
        "PermissionDenied QueueFull RequestLimitExceeded Retry RopewalkError ValueTooLarge"
    ),
    "ropewalk.sdk.execution": "Execution",
    "ropewalk.sdk.http": "Response",
    "ropewalk.sdk.marks": "on",
    "ropewalk.sdk.options": "Options",
    "ropewalk.sdk.records": "Activity ActivityRef ActivityType Link NewActivity NewNote Note Page Priority",
    "ropewalk.sdk.renames": "renamed_from",
    "ropewalk.sdk.secrets": "Secret secret",
    "ropewalk.sdk.settings": "Limits RetryPolicy retry",
    "ropewalk.sdk.tokens": "Callback TaskToken",
    "ropewalk.sdk.tool": "Tool",
    "ropewalk.sdk.twist": "Twist",
    "ropewalk.sdk.webhooks": "WebhookRequest WebhookResponse",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]  # the same names as above, which a test holds together


if not TYPE_CHECKING:  # a type checker that saw this would let every misspelt name pass

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module 'ropewalk' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
