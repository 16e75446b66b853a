"""What fuzzing has found, as ordinary tests."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ropewalk.sandbox.interface import Limits, RefusedImport
from ropewalk.service.deploying import check_manifest
from ropewalk.wire.control import OptionField, ToolInfo
from tests.fuzz.answers import MANIFEST


@pytest.mark.parametrize("options", [b'"x"', b"[]", b'{"a":1}', b"{", b"\xff", b'{"a":' * 100_000])
def test_a_plot_tool_made_with_what_is_no_access_is_refused(options: bytes) -> None:
    manifest = replace(MANIFEST, tools=[ToolInfo(ns="plot", kind="Plot", options=options)])
    with pytest.raises(RefusedImport, match="plot"):
        check_manifest(manifest, Limits())


@pytest.mark.parametrize("default", [b"{", b"", b'"\xff"', b"[" * 100_000])
def test_an_option_whose_default_is_no_json_is_refused(default: bytes) -> None:
    option = OptionField(ns="", name="per_page", type="integer", annotation="int", required=False, default=default)
    with pytest.raises(RefusedImport, match="per_page"):
        check_manifest(replace(MANIFEST, options=[option]), Limits())
