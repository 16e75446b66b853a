"""What every attempt runs is prepared before the fork: nothing that comes later has Python prepare it again, in each of them."""

from __future__ import annotations

import subprocess
import sys


def test_that_python_tells_of_errors_has_no_code_prepared_anew() -> None:
    code = """
import ctypes, sys
from ropewalk.guest import memory, root
from ropewalk.sdk.checks import check_key
root.warm()
code = check_key.__code__
size = sys.getsizeof(code) - len(code.co_code)
before = ctypes.string_at(id(code), size)
memory.install()
check_key("key")
print(len(before) > 100, ctypes.string_at(id(code), size) == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["True", "True"]
