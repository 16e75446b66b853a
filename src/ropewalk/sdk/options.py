"""Options: what whoever activates a twist, or declares a tool, may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, dataclass_transform

import msgspec

from ropewalk.sdk.secrets import Secret, SecretSpec, secret

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field, secret))
    class Options:
        """Base of a twist's or a tool's options. Subclasses are frozen and keyword-only.

        Each annotated attribute is a field; one without a default is required. Annotations are any types that `get(key, type)` takes.
        """

else:

    class _FrozenByName(msgspec.StructMeta):
        """Makes every subclass frozen and keyword-only: a Struct does not hand its `kw_only` down. Keeps what `secret()` said."""

        def __new__(cls, name, bases, namespace, **config):
            declared = {field: spec for field, spec in namespace.items() if isinstance(spec, SecretSpec)}
            for field, spec in declared.items():
                del namespace[field]
                if spec.optional:
                    namespace[field] = None
            namespace["_secrets"] = declared
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


def secret_spec(options: type[Options], field: msgspec.structs.FieldInfo) -> SecretSpec | None:
    """Return how a field of an Options class is secret, None when it is not."""
    found = next((spec for base in options.__mro__ if (spec := vars(base).get("_secrets", {}).get(field.name))), None)
    return found or (secret() if field.type is Secret else None)
