"""Makes the record of each attempt of a node, as the setting `record` says.

The host's own side of the connection is recorded, never what a guest says of itself. A record that cannot be sealed, since the master key
is not at hand, is done without: recording never fails an execution. Before: `dispatch`, whose attempts are taken down on a `Tape`. After:
the settlement, which carries the record to storage.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

import msgspec

from ropewalk.clock import Clock
from ropewalk.recording.exchanges import encode
from ropewalk.recording.hiding import hide, hide_in_exchange, hide_in_sent
from ropewalk.recording.record import Record, sealed
from ropewalk.recording.tape import Tape
from ropewalk.storage.interface import StorageError
from ropewalk.storage.records import Claim, ErrorInfo
from ropewalk.vault.errors import VaultError
from ropewalk.vault.redaction import Redactor
from ropewalk.vault.vault import Vault

Recorded = Literal["all", "failed", "none"]
"""Which attempts are recorded."""

_LONG: Final = 64 * 1024
"""Bytes from which on pressing and sealing is too long for the event loop's thread."""

_log: Final = logging.getLogger(__name__)


class Recorder:
    """Records attempts.

    Args:
        vault: seals them.
        clock: when what was said.
        which: all attempts, those that fail, or none.
        limit: bytes of one attempt's messages.
        hash_seed: what the processes of this node hash texts by.
    """

    def __init__(self, vault: Vault, clock: Clock, which: Recorded, limit: int, hash_seed: int) -> None:
        self._hash_seed = hash_seed
        self._vault = vault
        self._clock = clock
        self._which = which
        self._limit = limit
        self._complained = ""

    def tape(self) -> Tape | None:
        """Return what an attempt is to be taken down on, None when it is not recorded."""
        return None if self._which == "none" else Tape(self._clock.now, self._limit)

    async def record(
        self,
        tape: Tape,
        claim: Claim,
        status: str,
        error: ErrorInfo | None,
        redactor: Redactor | None = None,
    ) -> bytes | None:
        """Return the sealed record of an attempt that is over, None when none is to be kept, or none can be made."""
        if status == "succeeded" and self._which == "failed":
            return None
        messages, hidden = hide(tape.messages)
        exchanges = [encode(hide_in_exchange(exchange, hidden)) for exchange in tape.exchanges]
        if redactor is not None:
            before = messages, exchanges
            messages, exchanges = [redactor.blank(one) for one in messages], [redactor.blank(one) for one in exchanges]
            hidden = [redactor.hide(one) for one in hidden]  # a URL that is named there may hold one
            hidden += ["values of secret options"] if (messages, exchanges) != before else []
        record = Record(
            version=claim.instance.version,
            status=status,
            error=error,
            times=tape.times,
            messages=[msgspec.Raw(message) for message in messages],
            missing=tape.missing,
            hidden=hidden,
            hash_seed=self._hash_seed,
            exchanges=[msgspec.Raw(exchange) for exchange in exchanges],
            sent=[hide_in_sent(sent, redactor) for sent in tape.sent],
            unlisted=tape.unlisted,
        )
        execution, size = (
            claim.execution,
            sum(map(len, messages)) + sum(map(len, exchanges)) + sum(len(sent.url) for sent in tape.sent),
        )
        try:
            sealer = await self._vault.sealer(claim.instance.id)
        except (VaultError, StorageError) as problem:
            self._complain(f"executions are not recorded: {problem}")
            return None
        self._complained = ""
        if size < _LONG:
            return sealed(record, sealer, execution.id, execution.attempt)
        return await asyncio.to_thread(sealed, record, sealer, execution.id, execution.attempt)

    def _complain(self, text: str) -> None:
        """Say once what keeps executions from being recorded, not with each of them."""
        if text != self._complained:
            self._complained = text
            _log.warning(text)
