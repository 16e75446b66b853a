#!/usr/bin/env bash
# Resolve pyproject.toml into requirements/*.lock, with hashes, for every platform and Python that is supported.
# All three agree: dev is resolved first and the smaller ones take its versions. Extra arguments go to uv (--upgrade, say).
set -euo pipefail
cd "$(dirname "$0")/.."
resolve() {
    local out=requirements/$1.lock
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --custom-compile-command 'make lock' pyproject.toml --output-file "$out" "$@"
}
resolve dev --group dev "$@"
resolve demo --group demo --constraint requirements/dev.lock "$@"
resolve runtime --constraint requirements/dev.lock "$@"
