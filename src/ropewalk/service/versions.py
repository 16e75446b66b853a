"""The versions of a twist as people see them: where its instances are, what each version asks for, and which can be gone back to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ropewalk.service.deploying import permissions
from ropewalk.service.permissions import added
from ropewalk.service.shapes import Shape, time_shape
from ropewalk.storage.records import Instance, Twist, Version


def version_shapes(twist: Twist, versions: Sequence[Version], instances: Sequence[Instance]) -> list[Shape]:
    """Return the rows of `versions`, newest first as `versions` are; `instances` are the twist's."""
    own = Counter(one.version for one in instances)
    targets = Counter(one.target_version for one in instances)
    awaited = Counter(one.awaiting for one in instances)
    first_with: dict[str, int] = {}
    rows: list[Shape] = []
    before: list[str] = []
    for version in reversed(versions):
        first = first_with.setdefault(version.bundle, version.number)
        asked = permissions(version.manifest)
        rows.append(
            {
                "twist": twist.name,
                "version": version.number,
                "latest": version.number == twist.latest,
                "deployed_at": time_shape(version.created_at),
                "instances": own[version.number],
                "upgrading": targets[version.number],
                "awaiting_grant": awaited[version.number],
                "permissions": asked,
                "permissions_added": added(asked, before),
                "bundle": version.bundle,
                "code_of": None if first == version.number else first,
                "removed_at": time_shape(version.removed_at),
                "can_roll_back": version.removed_at is None and version.bundle != versions[0].bundle,
            }
        )
        before = asked
    return rows[::-1]
