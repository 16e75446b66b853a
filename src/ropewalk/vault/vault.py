"""The vault: a data key for each instance that has something to hide, wrapped by the master key in force, and what it seals.

    master key (a file or ROPEWALK_KEY) ──wraps──► data key (a row of the instance's) ──seals──► option, record, signing secret …

Deactivation destroys the row, and with it whatever was sealed, wherever copies of it are. Rotation wraps data keys anew and leaves what
they sealed alone. A data key is made when it is first asked for: without secrets there is neither one nor a master key. Before:
`storage`, which keeps the wrapped keys and says which master key is in force; after: whoever has something to seal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import DataKey
from ropewalk.vault.ciphers import cipher, new_key, seal, unseal, unwrap, wrap, wrapped_by
from ropewalk.vault.masters import MasterKey, Masters

if TYPE_CHECKING:
    from ropewalk.storage.interface import Storage

_REMEMBERED: Final = 4096
"""Most instances whose data keys are remembered."""

_TRIES: Final = 5


class Sealer:
    """Seals and opens what belongs to one instance. It stays right for as long as the instance is there, rotations included."""

    __slots__ = ("_cipher", "_instance")

    def __init__(self, instance: str, key: bytes) -> None:
        self._instance = instance
        self._cipher = cipher(key)

    def seal(self, plain: bytes, *place: str) -> bytes:
        """Return `plain` sealed for a place, such as a table's name and a row's id: it opens nowhere else."""
        return seal(self._cipher, plain, [self._instance, *place])

    def open(self, sealed: bytes, *place: str) -> bytes:
        """Return what was sealed for this place. Raises Tampered."""
        return unseal(self._cipher, sealed, [self._instance, *place])


class Vault:
    """What seals and opens for a database's instances. Used from one event loop.

    Args:
        storage: the database.
        masters: the master keys at hand.
    """

    def __init__(self, storage: Storage, masters: Masters) -> None:
        self._storage = storage
        self._masters = masters
        self._sealers: dict[str, Sealer] = {}

    async def sealer(self, instance: str) -> Sealer:
        """Return what seals and opens for an instance, with a key that is made when it has none. Cheap once it was asked for.

        Raises:
            UnknownInstance: it is not there, or its key was destroyed when it was deactivated.
            KeyMissing, KeyRefused: the master key is not at hand, or cannot be used.
            Tampered: the key was changed in the database.
        """
        found = self._sealers.pop(instance, None)
        if found is None:
            wrapped = await self._storage.data_key(instance) or await self._give_key(instance)
            found = self.opened(instance, wrapped)
        self._remember(instance, found)
        return found

    async def new_key(self, instance: str) -> tuple[DataKey, Sealer]:
        """Return a key for an instance that is still to be stored, and what seals with it. Raises KeyMissing, KeyRefused."""
        master, key = await self._in_force(), new_key()
        wrapped = wrap(master.cipher, master.id, key, [instance])
        return DataKey(instance=instance, master=master.id, wrapped=wrapped), Sealer(instance, key)

    async def check(self) -> None:
        """Raise KeyMissing or KeyRefused when the master key in force is not at hand; nothing when nothing was ever sealed."""
        in_force = await self._storage.master_key()
        if in_force is not None:
            self._masters.find(in_force)

    async def _give_key(self, instance: str) -> bytes:
        for _ in range(_TRIES):
            made, _sealer = await self.new_key(instance)
            try:
                return await self._storage.keep_data_key(made)
            except DoesNotApply:  # another master key has come into force meanwhile
                continue
        raise DoesNotApply(f"instance {instance} could not be given a key: the master key changed {_TRIES} times meanwhile")

    async def _in_force(self) -> MasterKey:
        """Return the master key that wraps new data keys; the first one to be used comes into force by that."""
        in_force = await self._storage.master_key()
        if in_force is None:
            in_force = await self._storage.adopt_master_key(self._masters.first().id, instead_of=None)
        return self._masters.find(in_force)

    def opened(self, instance: str, wrapped: bytes) -> Sealer:
        """Return what seals and opens with an instance's data key. Raises KeyMissing, KeyRefused, Tampered."""
        master = self._masters.find(wrapped_by(wrapped))
        return Sealer(instance, unwrap(master.cipher, wrapped, [instance]))

    def _remember(self, instance: str, sealer: Sealer) -> None:
        self._sealers[instance] = sealer
        if len(self._sealers) > _REMEMBERED:
            del self._sealers[next(iter(self._sealers))]
