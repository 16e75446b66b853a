"""A twist that uses the whole surface passes both type checkers in strict mode, and mistakes do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample.py")
ROOT = SAMPLE.parent.parent.parent
CHECKERS = {
    "mypy": ["mypy", "--strict", "--no-error-summary", "--hide-error-context"],
    "pyright": ["pyright"],
}
MISTAKES = {
    "options are frozen": ("self.options.per_page = 5", "per_page"),
    "options are typed": ("SampleOptions(base_url=5)", "base_url"),
    "required options": ("SampleOptions()", "base_url"),
    "options by name": ("SampleOptions('x')", "SampleOptions"),
    "unknown change": ("await self.plot.update_activity(ref, titel='x')", "titel"),
    "records are frozen": ("NewActivity('note', 'a').title = 'b'", "title"),
    "value of a type": ("number: str | None = await self.get('a', int)", "int"),
}


def check(checker: str, source: str, folder: Path) -> str:
    path = folder / "twist_under_check.py"
    path.write_text(source, encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(
        f'{{"typeCheckingMode": "strict", "extraPaths": ["{ROOT}/src"], "pythonPlatform": "Linux"}}', encoding="utf-8"
    )
    command = [sys.executable, "-m", *CHECKERS[checker], str(path)]
    if checker == "pyright":
        command += ["--pythonpath", sys.executable, "--project", str(folder)][:2]
    environment = {"MYPYPATH": f"{ROOT}/src", "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(Path.home())}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False)
    return ended.stdout if ended.returncode else ""


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_sample_passes_in_strict_mode(checker: str, tmp_path: Path) -> None:
    assert check(checker, SAMPLE.read_text(encoding="utf-8"), tmp_path) == ""


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_mistakes_are_found(checker: str, tmp_path: Path) -> None:
    lines = "".join(f"        {code}\n" for code, _ in MISTAKES.values())
    source = SAMPLE.read_text(encoding="utf-8") + "\n    async def wrong(self, ref: ActivityRef) -> None:\n" + lines
    first = source.count("\n") - len(MISTAKES) + 1
    found = check(checker, source, tmp_path)
    for number, (name, (_, words)) in enumerate(MISTAKES.items(), first):
        assert [line for line in found.splitlines() if f".py:{number}:" in line and "error" in line], (name, words, found)
