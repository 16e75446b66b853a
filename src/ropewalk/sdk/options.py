"""Options: what whoever activates a twist, or declares a tool, may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, dataclass_transform

import msgspec

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
    class Options:
        """Base of a twist's or a tool's options. Subclasses are frozen and keyword-only.

        Each annotated attribute is a field; one without a default is required. Annotations are any types that `get(key, type)` takes.
        """

else:

    class _FrozenByName(msgspec.StructMeta):
        """Makes every subclass frozen and keyword-only: a Struct does not hand its `kw_only` down."""

        def __new__(cls, name, bases, namespace, **config):
            return super().__new__(cls, name, bases, namespace, **(config | {"frozen": True, "kw_only": True}))

    class Options(msgspec.Struct, metaclass=_FrozenByName):
        """Base of a twist's or a tool's options. Subclasses are frozen and keyword-only.

        Each annotated attribute is a field; one without a default is required. Annotations are any types that `get(key, type)` takes.
        """


def option_fields(options: type[Options]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of an Options class, with their resolved types.

    Raises:
        NameError: an annotation cannot be resolved.
    """
    struct: Any = options
    return msgspec.structs.fields(struct)
