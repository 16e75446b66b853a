"""What a twist asks to be installed: packages by name, as PEP 508 writes them.

Pure functions of text. A requirement that leads elsewhere than to the operator's package index (a URL, a repository, a path) is refused:
nothing is fetched because a twist says from where. What every sandbox has already is checked here and asked of nobody.
Before: `bundles`, which finds the lists in a project. After: `dependencies`, which resolves them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Final, cast

# What only a deploy of something with dependencies needs is imported there: the others need not wait for it.
if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROVIDED: Final = ("ropewalk", "msgspec")
"""Distributions that every sandbox has, in the host's own version; the guest itself uses them, so no twist can bring another."""


class BadRequirement(Exception):
    """A dependency that cannot be installed; the message names it and the remedy."""


@cache
def provided_version(name: str) -> str:
    """Return the version of a provided distribution."""
    from importlib import metadata

    return metadata.version(name)


def wanted(given: object) -> tuple[str, ...]:
    """Return the requirements of a project's list, normalised, each once, without those that the sandbox itself meets.

    Raises:
        BadRequirement: it is no list of requirements, or one cannot be met.
    """
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(one, str) for one in cast("list[object]", given)):
        raise BadRequirement('must be a list of texts such as "httpx>=0.27"')
    parsed = map(_parsed, cast("list[str]", given))
    return tuple(sorted({str(one) for one in parsed if not _is_met(one)}))


def _parsed(text: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise BadRequirement(f"name {text!r}, which is no requirement: {str(error).splitlines()[0]}") from None
    if requirement.url is not None:
        raise BadRequirement(
            f"name {text!r}, which leads to a URL: name a package of the index ({requirement.name}>=1.0), "
            "or put the code beside the twist",
        )
    return requirement


def _is_met(requirement: Requirement) -> bool:
    """Return whether the sandbox has what is asked for. With extras it is left to the resolver, which knows what those ask for."""
    from packaging.utils import canonicalize_name

    name = canonicalize_name(requirement.name)
    if name not in PROVIDED:
        return False
    version = provided_version(name)
    if not requirement.specifier.contains(version, prereleases=True):
        raise BadRequirement(
            f"name '{requirement}', and the sandbox has {name} {version}, the runtime's own: ask for a range that has it",
        )
    return not requirement.extras


def needs(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the requirements of a package's metadata, without those of its extras. Raises InvalidRequirement."""
    from packaging.requirements import Requirement

    parsed = map(Requirement, lines)
    return tuple(sorted(str(one) for one in parsed if one.marker is None or "extra" not in str(one.marker)))
