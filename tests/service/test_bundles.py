"""Packing a folder for a deploy, and laying a stored bundle out again."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from ropewalk.service import bundles
from ropewalk.service.bundles import BundleError, check_name, digest_of, kebab_case, materialise, pack

TWIST = "from ropewalk import Twist\n\n\nclass Hello(Twist):\n    pass\n"


def write(folder: Path, **files: str) -> Path:
    """Write files whose names have `__` for `/` and `_dot_` for `.`."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# ── What a path means ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_module_file_is_packed_alone(tmp_path: Path) -> None:
    write(tmp_path, hello_dot_py=TWIST, other_dot_py="")
    packed = pack(tmp_path / "hello.py")
    assert (packed.module, packed.cls, packed.name) == ("hello", None, None)
    assert packed.files == {"hello.py": TWIST.encode()}
    assert packed.size == len(TWIST)


def test_a_folder_with_twist_py(tmp_path: Path) -> None:
    write(tmp_path, twist_dot_py=TWIST, helpers__parse_dot_py="", data__words_dot_txt="a b")
    packed = pack(tmp_path)
    assert packed.module == "twist"
    assert sorted(packed.files) == ["data/words.txt", "helpers/parse.py", "twist.py"]


def test_a_pyproject_names_module_class_and_twist(tmp_path: Path) -> None:
    write(tmp_path, pyproject_dot_toml='[tool.ropewalk]\ntwist = "pkg.sync:IssueSync"\nname = "issues"\n', pkg__sync_dot_py=TWIST)
    packed = pack(tmp_path)
    assert (packed.module, packed.cls, packed.name) == ("pkg.sync", "IssueSync", "issues")


def test_a_src_folder_is_what_modules_are_imported_from(tmp_path: Path) -> None:
    write(tmp_path, pyproject_dot_toml='[tool.ropewalk]\ntwist = "pkg:Hello"\n', src__pkg____init___dot_py="")
    (tmp_path / "src/pkg").mkdir(parents=True, exist_ok=True)
    (tmp_path / "src/pkg/__init__.py").write_text(TWIST)
    packed = pack(tmp_path)
    assert packed.module == "pkg"
    assert "pkg/__init__.py" in packed.files
    assert "pyproject.toml" not in packed.files


def test_a_pyproject_without_ropewalk_leaves_twist_py(tmp_path: Path) -> None:
    write(tmp_path, pyproject_dot_toml="[tool.ruff]\nline-length = 100\n", twist_dot_py=TWIST)
    assert pack(tmp_path).module == "twist"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no twist: add twist\.py"),
        ({"pyproject_dot_toml": '[tool.ropewalk]\ntwist = "gone:X"\n'}, "module 'gone' is not there"),
        ({"pyproject_dot_toml": '[tool.ropewalk]\ntwist = "a/b:X"\n'}, "'a/b' is no module name"),
        ({"pyproject_dot_toml": '[tool.ropewalk]\ntwits = "a:X"\n'}, "'twits' is no key: the nearest is 'twist'"),
        ({"pyproject_dot_toml": "[tool.ropewalk]\nname = 3\n"}, "name must be a text"),
        ({"pyproject_dot_toml": '[tool.ropewalk]\nname = "a b"\n', "twist_dot_py": ""}, "'a b' cannot be a twist's name"),
        ({"pyproject_dot_toml": "[tool"}, r"pyproject\.toml is not well formed"),
        ({"pyproject_dot_toml": '[tool.ropewalk]\ntwist = "tests.t:X"\n', "tests__t_dot_py": TWIST}, "is not packed"),
    ],
)
def test_folders_that_cannot_be_deployed(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        pack(write(tmp_path, **files))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not there: give a module file"):
        pack(tmp_path / "gone")


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no Python file"):
        pack(write(tmp_path, notes_dot_txt="") / "notes.txt")


@pytest.mark.parametrize("name", ["json.py", "ropewalk.py", "queue.py"])
def test_a_module_that_would_be_another_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TWIST)
    with pytest.raises(BundleError, match="rename it"):
        pack(tmp_path / name)


# ── Dependencies ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_project_s_dependencies(tmp_path: Path) -> None:
    write(tmp_path, pyproject_dot_toml='[project]\ndependencies = ["requests >= 2", "b", "requests>=2"]\n', twist_dot_py=TWIST)
    assert pack(tmp_path).requirements == ("b", "requests>=2")


def test_the_runtime_itself_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, pyproject_dot_toml='[project]\ndependencies = ["ropewalk>=0.1", "msgspec"]\n', twist_dot_py=TWIST)
    assert pack(tmp_path).requirements == ()


def test_a_script_block_is_read(tmp_path: Path) -> None:
    write(tmp_path, hello_dot_py='# /// script\n# dependencies = [\n#   "rich",\n# ]\n# ///\n' + TWIST)
    assert pack(tmp_path / "hello.py").requirements == ("rich",)


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        ('"rich"', "must be a list of texts"),
        ("[3]", "must be a list of texts"),
        ('["--index-url=http://evil"]', "name '--index-url=http://evil', which is no requirement"),
        ('["-e ."]', "which is no requirement"),
        ('["./setup"]', "which is no requirement"),
        ('["rich\\n--pre"]', "which is no requirement"),
        ('["rich @ https://example.com/rich.whl"]', r"leads to a URL: name a package of the index \(rich>=1.0\)"),
        ('["rich @ file:///etc"]', "leads to a URL"),
        ('["ropewalk>=999"]', "name 'ropewalk>=999', and the sandbox has ropewalk 0"),
    ],
)
def test_dependencies_that_cannot_be(tmp_path: Path, dependencies: str, message: str) -> None:
    write(tmp_path, pyproject_dot_toml=f"[project]\ndependencies = {dependencies}\n", twist_dot_py=TWIST)
    with pytest.raises(BundleError, match=message):
        pack(tmp_path)


def test_a_script_block_without_dependencies(tmp_path: Path) -> None:
    write(tmp_path, hello_dot_py='# /// script\n# requires-python = ">=3.11"\n# ///\n' + TWIST)
    assert pack(tmp_path / "hello.py").module == "hello"


# ── What is left out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        twist_dot_py=TWIST,
        _dot_env="SECRET=1",
        _dot_git__config="",
        node_modules__x_dot_js="",
        tests__test_twist_dot_py="",
        env__pyvenv_dot_cfg="",
        env__lib__x_dot_py="",
        sub__tests__data_dot_json="{}",
        old_dot_pyc="",
    )
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "twist.cpython-311.pyc").write_bytes(b"")
    assert sorted(pack(tmp_path).files) == ["sub/tests/data.json", "twist.py"]


def test_the_database_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, twist_dot_py=TWIST, ropewalk_dot_db="", sub__ropewalk_dot_db="", other_dot_db="")
    for suffix in ("-wal", "-shm", "-bundles/x/y.py", ".bell"):
        path = tmp_path / f"ropewalk.db{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    packed = pack(tmp_path, database=tmp_path / "ropewalk.db")
    assert sorted(packed.files) == ["other.db", "sub/ropewalk.db", "twist.py"]


def test_a_link_inside_the_folder_is_its_content(tmp_path: Path) -> None:
    write(tmp_path, twist_dot_py=TWIST)
    (tmp_path / "again.py").symlink_to("twist.py")
    assert pack(tmp_path).files["again.py"] == TWIST.encode()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a__twist_dot_py=TWIST, secret_dot_txt="")
    (tmp_path / "a/leak.txt").symlink_to("../secret.txt")
    with pytest.raises(BundleError, match=r"leak\.txt is a link out of the folder"):
        pack(tmp_path / "a")


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, twist_dot_py=TWIST)
    (tmp_path / "loop").symlink_to(".")
    with pytest.raises(BundleError, match="loop is a link to a folder"):
        pack(tmp_path)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, twist_dot_py=TWIST)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("bell")
        with pytest.raises(BundleError, match="bell is no regular file"):
            pack(tmp_path)


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    write(tmp_path, twist_dot_py=TWIST)
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.txt")).write_text("")
    with pytest.raises(BundleError, match="is not UTF-8"):
        pack(tmp_path)


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_FILES", 2)
    with pytest.raises(BundleError, match="more than 2 files"):
        pack(write(tmp_path, twist_dot_py=TWIST, a_dot_txt="", b_dot_txt=""))


def test_too_many_bytes(tmp_path: Path) -> None:
    write(tmp_path, twist_dot_py=TWIST)
    with (tmp_path / "big.bin").open("wb") as big:
        big.truncate(bundles.MOST_BYTES)
    with pytest.raises(BundleError, match="and a bundle may have 67,108,864"):
        pack(tmp_path)


# ── Names and digests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        ("IssueSync", "issue-sync"),
        ("HTTPPing2", "http-ping2"),
        ("Hello", "hello"),
        ("My_Twist", "my-twist"),
        ("GitHubSync", "git-hub-sync"),
    ],
)
def test_kebab_case(cls: str, name: str) -> None:
    assert kebab_case(cls) == name


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "\x1b[31m", "x" * 101, "é"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BundleError, match="cannot be a twist's name"):
        check_name(name)


def test_a_digest_is_of_paths_and_contents() -> None:
    one = digest_of({"a": b"bc", "d": b""})
    assert one == digest_of({"d": b"", "a": b"bc"})
    assert len({one, digest_of({"ab": b"c", "d": b""}), digest_of({"a": b"bc"}), digest_of({"a": b"bcd"})}) == 4


# ── Laying out ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

FILES = {"twist.py": b"x = 1\n", "data/deep/words.txt": b"a b"}
DIGEST = digest_of(FILES)


def test_a_bundle_is_laid_out_as_it_was_packed(tmp_path: Path) -> None:
    folder = materialise(tmp_path / "walk.db-bundles", DIGEST, FILES)
    assert folder == tmp_path / "walk.db-bundles" / DIGEST
    assert (folder / "data/deep/words.txt").read_bytes() == b"a b"
    assert pack_like(folder) == FILES


def pack_like(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder = materialise(tmp_path / "bundles", DIGEST, FILES)
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (folder.parent, folder, folder / "data/deep", folder / "twist.py")
    }
    assert modes == {"bundles": 0o700, DIGEST: 0o755, "deep": 0o755, "twist.py": 0o644}


def test_laying_out_again_changes_nothing(tmp_path: Path) -> None:
    folder = materialise(tmp_path / "b", DIGEST, FILES)
    inode = folder.stat().st_ino
    assert materialise(tmp_path / "b", DIGEST, FILES).stat().st_ino == inode


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "linked"])
def test_a_damaged_folder_is_replaced(tmp_path: Path, damage: str) -> None:
    folder = materialise(tmp_path / "b", DIGEST, FILES)
    if damage == "changed":
        (folder / "twist.py").write_bytes(b"x = 2\n")
    elif damage == "missing":
        (folder / "twist.py").unlink()
    elif damage == "added":
        (folder / "extra.py").write_bytes(b"")
    else:
        (folder / "link.py").symlink_to("/etc/hostname")
    assert pack_like(materialise(tmp_path / "b", DIGEST, FILES)) == FILES
    assert [path.name for path in (tmp_path / "b").iterdir()] == [DIGEST]


def test_files_that_are_not_the_digest_s_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="damaged"):
        materialise(tmp_path / "b", DIGEST, {"twist.py": b"other"})
    assert not (tmp_path / "b").exists()
