"""What zygotes may report: how the host decodes it, and what deploying a version does with a manifest that its author's code has made up."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from ropewalk.errors import InvalidValue
from ropewalk.queue.retries import Failure, delay
from ropewalk.sandbox.interface import Limits, RefusedImport
from ropewalk.service.bundles import BundleError, check_name, kebab_case
from ropewalk.service.deploying import check_manifest, check_options, permissions
from ropewalk.service.options import Given, choose
from ropewalk.wire.control import Exits, Imported, ImportFailed, Manifest, Ready, RootReport, Spawned, ZygoteReport
from tests.fuzz.answers import MANIFEST
from tests.fuzz.choices import Choices
from tests.fuzz.messages import Tongue, packed

_REPORTS: Final = (Imported, ImportFailed, Imported, Ready, Spawned, Exits)
_decode_zygote_report: Final = msgspec.msgpack.Decoder(ZygoteReport).decode
_decode_root_report: Final = msgspec.msgpack.Decoder(RootReport).decode


def run(data: bytes) -> None:
    """Report what `data` decides."""
    choices = Choices(data)
    if choices.once_in(8):
        packet = choices.rest()
    else:
        packet = packed(_report(choices))
        if choices.once_in(4):
            at = choices.number(len(packet))
            packet = packet[:at] + choices.raw(1) + packet[at + 1 :]
    try:
        _decode_root_report(packet)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    try:
        report: Imported | ImportFailed = _decode_zygote_report(packet)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return
    if isinstance(report, Imported):
        deploy(report.manifest)


def _report(choices: Choices) -> msgspec.Struct:
    """Return a report; a manifest has some fields as they should be, so that the others are looked at."""
    report = Tongue(choices, []).message(_REPORTS)
    if not isinstance(report, Imported):
        return report
    sound = {name: getattr(MANIFEST, name) for name in MANIFEST.__struct_fields__ if not choices.once_in(3)}
    return Imported(manifest=replace(report.manifest, **sound))


def deploy(manifest: Manifest) -> None:
    """Do with a manifest all that a deploy and an activation do: it is refused as a whole, or nothing of it surprises later."""
    limits = Limits()
    try:
        check_manifest(manifest, limits)
        check_name(kebab_case(manifest.cls))
    except (RefusedImport, BundleError):
        return
    assert all(isinstance(line, str) for line in permissions(manifest))
    own = limits.lowered_by(manifest.limits)
    assert 0 < own.cpu <= limits.cpu
    assert 0 < own.wall <= limits.wall
    assert 0 < own.memory <= limits.memory
    failure = Failure(type="ValueError", kind="error")
    assert all(0 <= delay(failure, manifest.retry, tries, 1.0) <= 30 * 86_400 for tries in (1, 10, 1000))
    try:
        given = {field.name: Given("[1]", named=True) for field in manifest.options if not field.ns}
        check_options(manifest, choose(manifest.options, given).json)
    except InvalidValue:
        pass
