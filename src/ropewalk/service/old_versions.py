"""What a node clears away of versions that nobody is in any more: their files in the database, and folders laid out for the sandbox.

Looked at when a node starts and once an hour. The database says what is out of use, and since when; a folder goes when its bundle is not in the
database, such as those of dry runs, and nobody has asked for it in a day.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ropewalk.service import bundles
from ropewalk.service.service import Service

_BETWEEN_LOOKS: Final = 3600.0


class OldVersions:
    """Clears away what old versions leave.

    Args:
        service: the database, and where its bundles are laid out.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._next_look = float("-inf")

    async def look(self) -> None:
        """Clear away what there is, if it is time to look."""
        service = self._service
        if service.clock.boottime() < self._next_look:
            return
        self._next_look = service.clock.boottime() + _BETWEEN_LOOKS
        settings, now = service.settings, service.clock.now()
        before = now - round(max(settings.keep_bundles, settings.keep_records) * 1e6)
        while await service.storage.forget_bundles(settings.keep_versions, before, now):
            pass  # one at a time: others write in between
        kept = await service.storage.bundles()
        await asyncio.to_thread(bundles.clear, settings.bundles_directory, kept, now / 1e6)
