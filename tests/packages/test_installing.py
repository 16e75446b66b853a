"""Packages of a twist, from the index to its processes."""

from __future__ import annotations

import contextlib
import shutil
import textwrap
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import apsw
import pytest

from ropewalk.service.bundles import BundleError
from ropewalk.service.deploying import Deployed
from tests.harness.index import Index
from tests.harness.runtime import RefusedImport, Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

USES = """
    import alpha
    from ropewalk import Twist

    class {cls}(Twist):
        async def version(self) -> object:
            return alpha.VERSION
    """


def source(*dependencies: str, body: str = USES, cls: str = "Uses") -> str:
    """Return a module with a script block."""
    listed = "".join(f'#   "{one}",\n' for one in dependencies)
    return f"# /// script\n# dependencies = [\n{listed}# ]\n# ///\n{textwrap.dedent(body.replace('{cls}', cls))}"


def installed(deployed: Deployed) -> list[tuple[str, str]]:
    return [(package.name, package.version) for package in deployed.get("packages", [])]


async def deploy(walk: Runtime, *dependencies: str, **flags: Any) -> Deployed:
    return await walk.deploy(source(*dependencies), **flags)


# ── What is installed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_package_and_what_it_needs(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "import beta\nVERSION = ['1.0', beta.VERSION]"}, requires=["beta>=2"])
    index.add("beta", "1.0", {"beta.py": "VERSION = '1.0'"})
    index.add("beta", "2.5", {"beta.py": "VERSION = '2.5'"})
    instance = await walk.run(source("alpha"))
    assert await walk.invoke(instance, "version") == ["1.0", "2.5"]


async def test_a_deploy_says_what_it_installs(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"}, requires=["beta"])
    index.add("beta", "2.5", {"beta.py": ""})
    deployed = await deploy(walk, "alpha >=1", dry_run=True)
    assert installed(deployed) == [("alpha", "1.0"), ("beta", "2.5")]
    alpha = deployed.get("packages", [])[0]
    assert (alpha.wheel, alpha.requires) == ("alpha-1.0-py3-none-any.whl", ("beta",))
    assert alpha.sha256 == index.files["alpha"]["alpha-1.0-py3-none-any.whl"][1]
    assert await walk.storage.twists() == []


async def test_data_and_metadata_are_there(walk: Runtime, index: Index) -> None:
    body = """
        from importlib import metadata, resources
        from ropewalk import Twist

        class Reads(Twist):
            async def read(self) -> list[str]:
                return [metadata.version("alpha"), resources.files("alpha").joinpath("words.txt").read_text()]
        """
    index.add("alpha", "1.0", {"alpha/__init__.py": "", "alpha-1.0.data/purelib/alpha/words.txt": "a b"})
    instance = await walk.run(source("alpha", body=body))
    assert await walk.invoke(instance, "read") == ["1.0", "a b"]


async def test_packages_are_compiled(walk: Runtime, index: Index) -> None:
    body = """
        import os.path

        import alpha
        import alpha.tests.broken
        from ropewalk import Twist

        class Compiled(Twist):
            async def compiled(self) -> list[bool]:
                return [os.path.exists(module.__cached__) for module in (alpha, alpha.tests.broken)]
        """
    files = {
        "alpha/__init__.py": "",
        "alpha/tests/broken.py": "",
        "alpha/old.py": "print 'of another Python'",
        "alpha/b.py": "\0",
    }
    index.add("alpha", "1.0", files)
    assert await walk.invoke(await walk.run(source("alpha", body=body)), "compiled") == [True, False]


async def test_compiling_runs_nothing(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1", "evil.py": "import os; os._exit(7)"})
    assert await walk.invoke(await walk.run(source("alpha")), "version") == 1
    assert not list(walk.service.settings.bundles_directory.glob("*/compiler.py"))


async def test_a_package_is_imported_late(walk: Runtime, index: Index) -> None:
    body = """
        from ropewalk import Twist

        class Late(Twist):
            async def version(self) -> str:
                import alpha.deep.part
                return alpha.deep.part.VERSION
        """
    index.add("alpha", "1.0", {"alpha/__init__.py": "", "alpha/deep/__init__.py": "", "alpha/deep/part.py": "VERSION = '1.0'"})
    assert await walk.invoke(await walk.run(source("alpha", body=body)), "version") == "1.0"


async def test_a_project_s_dependencies(walk: Runtime, index: Index, tmp_path: Path) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "twist.py").write_text(textwrap.dedent(USES.replace("{cls}", "Uses")))
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["ropewalk", "alpha==1.*"]\n')
    assert installed(await walk.deploy(folder)) == [("alpha", "1.0")]


async def test_packages_that_share_a_folder(walk: Runtime, index: Index) -> None:
    body = """
        from space import one, two
        from ropewalk import Twist

        class Shares(Twist):
            async def both(self) -> list[int]:
                return [one.X, two.X]
        """
    index.add("alpha", "1", {"space/one.py": "X = 1", "LICENSE": "first"})
    index.add("beta", "1", {"space/two.py": "X = 2", "LICENSE": "second"})
    assert await walk.invoke(await walk.run(source("alpha", "beta", body=body)), "both") == [1, 2]


# ── Apart from one another ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_two_twists_have_two_versions_of_one_package(walk: Runtime, index: Index) -> None:
    for version in ("1.0", "2.0"):
        index.add("alpha", version, {"alpha.py": f"VERSION = '{version}'"})
    old = await walk.run(source("alpha<2", cls="Old"))
    new = await walk.run(source("alpha", cls="New"))
    assert [await walk.invoke(one, "version") for one in (old, new, old)] == ["1.0", "2.0", "1.0"]


async def test_a_twist_without_dependencies_sees_none(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    await deploy(walk, "alpha")
    with pytest.raises(RefusedImport, match=r"there is no module 'alpha' in the sandbox: if it is a package, name it"):
        await walk.deploy("import alpha\n")


async def test_packages_cannot_be_written(walk: Runtime, index: Index) -> None:
    body = """
        import alpha
        from ropewalk import Twist

        class Writes(Twist):
            async def write(self) -> None:
                open(alpha.__file__, "a").write("x")
        """
    index.add("alpha", "1.0", {"alpha.py": ""})
    error = await walk.failure(await walk.run(source("alpha", body=body)), "write")
    assert error.type == "OSError"


@pytest.mark.parametrize("name", ["msgspec", "ropewalk", "json", "wave"])
async def test_a_package_cannot_stand_in_for_what_the_runtime_uses(walk: Runtime, index: Index, name: str) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1", f"{name}/__init__.py": "raise SystemExit('shadowed')"})
    instance = await walk.run(source("alpha", body=f"\n    import {name}\n{USES}"))
    assert await walk.invoke(instance, "version") == 1


async def test_a_pth_file_does_nothing(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1", "evil.pth": "import os; os._exit(7)\n"})
    assert await walk.invoke(await walk.run(source("alpha")), "version") == 1


async def test_an_error_in_a_package_names_the_author_s_line(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "import nothing_like_it"})
    with pytest.raises(RefusedImport, match=r"^twist\.py:\d+: there is no module 'nothing_like_it'"):
        await deploy(walk, "alpha")


# ── What the sandbox has already ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_runtime_s_own_msgspec_is_what_packages_get(walk: Runtime, index: Index) -> None:
    index.add("msgspec", "99.0", {"msgspec/__init__.py": "raise SystemExit('shadowed')"})
    index.add("alpha", "1.0", {"alpha.py": "import msgspec\nVERSION = msgspec.json.encode(1).decode()"}, requires=["msgspec"])
    deployed = await deploy(walk, "alpha")
    assert installed(deployed) == [("alpha", "1.0")]


async def test_another_msgspec_cannot_be_had(walk: Runtime, index: Index) -> None:
    index.add("msgspec", "99.0", {"msgspec/__init__.py": ""})
    index.add("alpha", "1.0", {"alpha.py": ""}, requires=["msgspec>=99"])
    with pytest.raises(BundleError, match=r"name 'msgspec>=99', and the sandbox has msgspec [\d.]+, the runtime's own"):
        await deploy(walk, "msgspec>=99")
    with pytest.raises(BundleError, match=r"(?s)cannot be resolved:.*alpha 1.0 depends on msgspec>=99.*\+sandbox"):
        await deploy(walk, "alpha")


# ── Redeploying ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_unchanged_source_keeps_its_packages(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    await deploy(walk, "alpha")
    index.add("alpha", "2.0", {"alpha.py": "VERSION = 2"})
    index.requests.clear()
    again = await deploy(walk, "alpha")
    assert (again.get("unchanged"), again.get("version"), installed(again)) == (True, 1, [("alpha", "1.0")])
    assert index.requests == []


async def test_packages_are_upgraded_when_asked(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    instance = await walk.run(source("alpha"))
    index.add("alpha", "2.0", {"alpha.py": "VERSION = 2"})
    again = await deploy(walk, "alpha", upgrade_packages=True)
    assert (again.get("version"), installed(again)) == (2, [("alpha", "2.0")])
    assert await walk.invoke(instance, "version") == 2


async def test_changed_code_keeps_its_packages_too(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    await deploy(walk, "alpha")
    index.files.clear()
    again = await walk.deploy(source("alpha", body=f"{USES}\n    # changed\n"))
    assert (again.get("version"), installed(again)) == (2, [("alpha", "1.0")])


async def test_changed_dependencies_are_resolved(walk: Runtime, index: Index) -> None:
    for version in ("1.0", "2.0"):
        index.add("alpha", version, {"alpha.py": f"VERSION = '{version}'"})
    await deploy(walk, "alpha<2")
    assert installed(await deploy(walk, "alpha")) == [("alpha", "2.0")]


async def test_a_new_twist_does_not_get_another_s_packages(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    await walk.deploy(source("alpha", cls="First"))
    index.add("alpha", "2.0", {"alpha.py": "VERSION = 2"})
    assert installed(await walk.deploy(source("alpha", cls="Second"))) == [("alpha", "2.0")]
    assert installed(await walk.deploy(source("alpha", cls="First"))) == [("alpha", "1.0")]


async def test_a_package_is_stored_once(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1", "alpha.bin": bytes(3_000_000)})
    await walk.deploy(source("alpha", cls="First"))
    told: list[str] = []
    await walk.deploy(source("alpha", cls="Second"), tell=told.append)
    assert "Collecting alpha" in told
    assert "Compiling alpha" not in told
    size = sum(path.stat().st_size for path in walk.database.parent.glob("ropewalk.db*") if path.is_file())
    assert size < 2 * 3_000_000
    bundles = [await bundle(walk, name) for name in ("first", "second")]
    inodes = {(walk.service.settings.bundles_directory / one / ".packages/alpha.bin").stat().st_ino for one in bundles}
    assert (len(set(bundles)), len(inodes)) == (2, 1)


async def bundle(walk: Runtime, name: str) -> str:
    return (await walk._latest(name)).bundle


async def test_packages_come_back_from_the_database(walk: Runtime, index: Index, tmp_path: Path) -> None:
    big = "X = 1\n" * 1_000_000  # more than one transaction takes
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1", "one.txt": big, "two.txt": big})
    await deploy(walk, "alpha")
    directory = walk.service.settings.bundles_directory
    directory.unlink()
    directory.mkdir()
    digest = await bundle(walk, "uses")
    await walk.service.materialise(digest)
    assert (directory / digest / ".packages/two.txt").read_text() == big


async def test_a_damaged_package_is_laid_out_again(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    await deploy(walk, "alpha")
    digest = await bundle(walk, "uses")
    file = walk.service.settings.bundles_directory / digest / ".packages/alpha.py"
    file.write_text("VERSION = 666")
    await walk.service.materialise(digest)
    assert file.read_text() == "VERSION = 1"


@pytest.mark.parametrize("lost", ["packages", "all"])
async def test_files_that_got_lost_are_there_again_once_the_same_is_deployed(walk: Runtime, index: Index, lost: str) -> None:
    index.add("alpha", "1.0", {"alpha.py": "import beta\nVERSION = beta.VERSION"}, requires=["beta"])
    index.add("beta", "2.5", {"beta.py": "VERSION = '2.5'", "beta/more.py": "def more(): return 'more'"})
    instance = await walk.run(source("alpha"))
    digest = await bundle(walk, "uses")
    await walk.deploy(source("alpha", cls="Other"))
    await lose(walk, digest if lost == "packages" else "")
    for _ in range(2):  # the second finds nothing lost
        again = await deploy(walk, "alpha")
        assert (again.get("unchanged"), again.get("version")) == (True, 1)
    await walk.service.materialise(digest)
    assert await walk.invoke(instance, "version") == "2.5"


async def test_files_that_got_lost_are_never_others(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 1"})
    await deploy(walk, "alpha")
    await lose(walk, await bundle(walk, "uses"))
    index.files.clear()
    index.add("alpha", "1.0", {"alpha.py": "VERSION = 'of somebody else'"})
    with pytest.raises(
        BundleError, match=r"the files of alpha 1\.0 got lost, and alpha-.*\.whl cannot be had as it was: .*--upgrade"
    ):
        await deploy(walk, "alpha")
    assert (await deploy(walk, "alpha", upgrade_packages=True)).get("version") == 2


async def lose(walk: Runtime, kept: str) -> None:
    """Lose all files but those of one bundle, in the database and where they are laid out."""
    with contextlib.closing(apsw.Connection(str(walk.database))) as connection:
        connection.execute("DELETE FROM bundle_files WHERE bundle != ?", (kept,))
    for folder in walk.service.settings.bundles_directory.iterdir():
        for inner in (folder, *folder.rglob("*")):
            if inner.is_dir():
                inner.chmod(0o700)
        shutil.rmtree(folder)


# ── What is refused ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_package_without_a_wheel_is_not_built(walk: Runtime, index: Index, tmp_path: Path) -> None:
    index.add_source("alpha", "1.0", {"alpha.py": ""}, trace=str(tmp_path / "ran"))
    with pytest.raises(BundleError, match=r"(?s)No matching distribution found for alpha.*Only wheels .* \(package_builds\)"):
        await deploy(walk, "alpha")
    assert not (tmp_path / "ran").exists()


async def test_a_package_cannot_lead_to_one_that_is_built(walk: Runtime, index: Index, tmp_path: Path) -> None:
    index.add_source("evil", "1.0", {"evil.py": ""}, trace=str(tmp_path / "ran"))
    index.add("alpha", "1.0", {"alpha.py": ""}, requires=[f"evil @ {index.host}/files/evil/evil-1.0.tar.gz"])
    with pytest.raises(BundleError, match=r"would have to be built, which runs its code outside the sandbox \(Collecting evil"):
        await deploy(walk, "alpha")
    assert not (tmp_path / "ran").exists()


async def test_an_operator_may_allow_building(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], index: Index, pip_alone: None, tmp_path: Path
) -> None:
    index.add_source("alpha", "1.0", {"alpha.py": "VERSION = 'built'"}, trace=str(tmp_path / "ran"))
    async with opened(package_index=index.url, package_builds=True) as walk:
        assert await walk.invoke(await walk.run(source("alpha")), "version") == "built"
    assert (tmp_path / "ran").exists()


async def test_a_package_cannot_lead_to_a_repository(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": ""}, requires=[f"evil @ git+{index.host}/evil.git"])
    with pytest.raises(BundleError, match="would have to be built"):
        await deploy(walk, "alpha")
    assert not any("evil" in path for path in index.requests)


async def test_a_wrong_hash_is_refused(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"alpha.py": ""})
    file, (content, _) = index.files["alpha"].popitem()
    index.add_file("alpha", file, content, claimed="0" * 64)
    with pytest.raises(BundleError, match="DO NOT MATCH THE HASHES"):
        await deploy(walk, "alpha")


async def test_a_hostile_wheel_is_refused(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"../../../../tmp/up.py": ""})
    with pytest.raises(BundleError, match=r"alpha-1.0-py3-none-any.whl holds the path '../../../../tmp/up.py'"):
        await deploy(walk, "alpha")


async def test_a_package_with_very_many_versions_none_of_which_fits(walk: Runtime, index: Index) -> None:
    for number in range(10_000):
        index.add_file("alpha", f"alpha-{number}.0.0-py3-none-any.whl", b"")
    with pytest.raises(BundleError, match="No matching distribution found for alpha>=10000") as raised:
        await deploy(walk, "alpha>=10000")
    assert len(str(raised.value)) < 2_000


async def test_conflicts_are_told(walk: Runtime, index: Index) -> None:
    for version in ("1.0", "2.0"):
        index.add("gamma", version, {"gamma.py": ""})
    index.add("alpha", "1.0", {"alpha.py": ""}, requires=["gamma<2"])
    index.add("beta", "1.0", {"beta.py": ""}, requires=["gamma>=2"])
    with pytest.raises(BundleError, match=r"(?s)alpha, beta.*alpha 1.0 depends on gamma<2.*beta 1.0 depends on gamma>=2"):
        await deploy(walk, "alpha", "beta")


async def test_a_file_where_another_has_a_folder_is_refused(walk: Runtime, index: Index) -> None:
    index.add("alpha", "1.0", {"thing": ""})
    index.add("beta", "1.0", {"thing/part.py": ""})
    with pytest.raises(BundleError, match="'thing' is a file in one of its packages and a folder in another"):
        await deploy(walk, "alpha", "beta")


async def test_an_index_that_is_not_there_is_told(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], pip_alone: None
) -> None:
    async with opened(package_index="http://127.0.0.1:9/simple") as walk:
        with pytest.raises(BundleError, match=r"the dependencies \(alpha\) cannot be resolved, since .* cannot be reached"):
            await deploy(walk, "alpha")


async def test_an_index_that_does_not_answer_is_given_up(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], index: Index, pip_alone: None
) -> None:
    index.silent = True
    async with opened(package_index=index.url, package_timeout=2.0) as walk:
        with pytest.raises(BundleError, match=r"were not there after 2 s: try again, or give it longer \(package_timeout\)"):
            await deploy(walk, "alpha")


async def test_packages_over_the_limit_are_refused(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], index: Index, pip_alone: None
) -> None:
    index.add("alpha", "1.0", {"alpha.py": "", "zeros": bytes(600_000)})
    index.add("beta", "1.0", {"beta.py": "", "zeros": bytes(600_000)})
    async with opened(package_index=index.url, limit_packages=1_000_000) as walk:
        with pytest.raises(
            BundleError, match=r"beta-1.0.*\.whl unpacks to 600,\d+ bytes, and 399,\d+ are left, of the 1,000,000"
        ):
            await deploy(walk, "alpha", "beta")
