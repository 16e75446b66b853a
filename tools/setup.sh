#!/usr/bin/env bash
# Make .venv hold exactly what requirements/$1.lock names ("demo" or "dev") and this package, editable. Does nothing when it does.
#
# Needs a Python of at least 3.11 with venv, and nothing else: every other tool comes from the lock file, checked by hash.
# PYTHON=/path/to/python chooses the interpreter of a new .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

group=${1:?which lock: demo or dev}
venv=.venv
stamp=$venv/.ropewalk-$group

fingerprint() { cat "requirements/$group.lock" pyproject.toml tools/setup.sh | cksum; }
say() { printf '%s\n' "$*" >&2; }

# dev holds everything that demo does.
up_to_date() {
    [ -x $venv/bin/python ] && [ -x $venv/bin/ropewalk ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# A name on the PATH may be a shim that runs nothing, so each is tried; pyenv says where it keeps the one that it means.
find_python() {
    local name path names=${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3 python}
    for name in $names; do
        for path in "$name" $(pyenv whence --path "$name" 2>/dev/null); do
            if new_enough "$path"; then
                command -v "$path"
                return
            fi
        done
    done
    say "No Python of at least 3.11 was found (tried: $names)."
    say "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.11"
    exit 1
}

make_venv() {
    local python
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$python cannot make a virtual environment: its ensurepip module is missing."
        say "Debian and Ubuntu keep it apart: apt install $("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
        exit 1
    fi
    say "Making $venv with $("$python" -V) ($python)"
    "$python" -m venv --clear $venv
}

up_to_date && exit 0
if ! new_enough $venv/bin/python || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    make_venv
fi
say "Installing requirements/$group.lock into $venv (once)"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
$venv/bin/python -m pip install --quiet --require-hashes -r "requirements/$group.lock"
$venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
$venv/bin/python -m compileall -q src # the sandbox reads what it finds compiled and writes nothing
fingerprint >"$stamp"
