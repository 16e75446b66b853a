"""Taking wheels apart: where files go, and what is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import pytest

from ropewalk.service.wheels import BadWheel, TooLarge, Unpacked, unpack
from tests.harness.index import wheel

ROOMY = {"most_bytes": 1_000_000, "most_files": 100}
INFO = ["a-1.dist-info/METADATA", "a-1.dist-info/RECORD", "a-1.dist-info/WHEEL"]


def unpacked(files: dict[str, str | bytes], **limits: int) -> Unpacked:
    return unpack(wheel("a", "1", files), **{**ROOMY, **limits})


def with_member(member: zipfile.ZipInfo, content: bytes = b"x") -> bytes:
    made = io.BytesIO(wheel("a", "1", {}))
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(member, content)
    return made.getvalue()


def test_files_go_where_the_format_says() -> None:
    found = unpacked(
        {
            "a/__init__.py": "",
            "a-1.data/purelib/b.py": "b",
            "a-1.data/platlib/c/d.so": b"\x7fELF",
            "a-1.data/data/share/words.txt": "w",
            "a-1.data/scripts/run": "#!python",
            "a-1.data/headers/a.h": "",
        }
    )
    assert sorted(found.files) == sorted([*INFO, "a/__init__.py", "b.py", "c/d.so", "share/words.txt"])
    assert found.files["c/d.so"] == b"\x7fELF"


def test_what_is_compiled_already_is_left_out() -> None:
    assert sorted(unpacked({"a.py": "", "__pycache__/a.cpython-311.pyc": "x"}).files) == sorted([*INFO, "a.py"])


def test_requirements_are_read() -> None:
    assert unpack(wheel("a", "1", {}, ["b>=2", "c ; extra == 'd'"]), **ROOMY).requires == ["b>=2", "c ; extra == 'd'"]


@pytest.mark.parametrize(
    "path",
    [
        "../up.py",
        "a/../../up.py",
        "/etc/passwd",
        "a//b.py",
        "./a.py",
        "a\\..\\b.py",
        "a\nb.py",
        "a/\u202eyp.py",
        "x" * 256,
        "/".join(["x"] * 600),
        "a-1.data/purelib/../../up.py",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(BadWheel, match="leads out of its folder or can be none"):
        unpacked({path: "x"})


@pytest.mark.parametrize("path", [".packages.json", ".packages/a/b.py", "a-1.data/purelib/.packages.json"])
def test_the_runtime_s_own_paths_are_refused(path: str) -> None:
    with pytest.raises(BadWheel, match=r"\.packages is the runtime's own"):
        unpacked({path: "x"})


def test_a_path_with_a_nul_is_refused() -> None:
    content = wheel("a", "1", {"abcX.py": "x"}).replace(b"abcX.py", b"abc\0.py")
    with pytest.raises(BadWheel):
        unpack(content, **ROOMY)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_special_files_are_refused(kind: int) -> None:
    member = zipfile.ZipInfo("a/link")
    member.external_attr = (kind | 0o777) << 16
    with pytest.raises(BadWheel, match="a link or another special file"):
        unpack(with_member(member, b"/etc/passwd"), **ROOMY)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_path_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadWheel, match=r"holds 'a-1.dist-info/RECORD' twice"):
        unpack(with_member(zipfile.ZipInfo("a-1.dist-info/RECORD")), **ROOMY)


def test_a_path_that_comes_twice_by_way_of_data_is_refused() -> None:
    with pytest.raises(BadWheel, match=r"holds 'b.py' twice"):
        unpacked({"b.py": "1", "a-1.data/purelib/b.py": "2"})


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(BadWheel, match="'stdlib' is no place"):
        unpacked({"a-1.data/stdlib/os.py": ""})


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method: int) -> None:
    member = zipfile.ZipInfo("a/b.py")
    member.compress_type = method
    with pytest.raises(BadWheel, match="compressed in a way"):
        unpack(with_member(member), **ROOMY)


def test_sizes_are_bounded_before_anything_is_read() -> None:
    bomb = unpack(wheel("a", "1", {"zeros": bytes(900_000)}), **ROOMY)
    assert bomb.size > 900_000
    with pytest.raises(TooLarge, match=r"unpacks to 900,\d+ bytes, and 899,000 are left"):
        unpacked({"zeros": bytes(900_000)}, most_bytes=899_000)


def test_counts_are_bounded() -> None:
    with pytest.raises(TooLarge, match="unpacks to 103 files, and 100 are left"):
        unpacked({f"f{number}": "" for number in range(100)})


def test_a_list_of_very_many_entries_is_not_made() -> None:
    with pytest.raises(TooLarge, match="has more entries"):
        unpacked({f"f{number}": "" for number in range(1_000)})


def test_a_member_that_is_larger_than_it_says_is_refused() -> None:
    content = wheel("a", "1", {"zeros": bytes(900_000)})
    lies = content.replace(struct.pack("<I", 900_000), struct.pack("<I", 10))
    assert lies != content
    with pytest.raises(BadWheel, match="no well-formed archive"):
        unpack(lies, **ROOMY)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_wheel_is_refused(content: bytes) -> None:
    with pytest.raises(BadWheel):
        unpack(content, **ROOMY)


def test_a_damaged_member_is_refused() -> None:
    content = bytearray(wheel("a", "1", {"a.py": bytes(range(256)) * 8}))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(BadWheel):
        unpack(bytes(content), **ROOMY)
