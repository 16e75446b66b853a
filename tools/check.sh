#!/usr/bin/env bash
# All static checks, one after another; every one runs even when an earlier one fails, and the last line says which did.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
failed=()

run() {
    local name=$1
    shift
    printf '\n── %s: %s\n' "$name" "$*"
    "$@" || failed+=("$name")
}

run format $bin/ruff format --check
run lint $bin/ruff check
run mypy $bin/mypy
run pyright $bin/pyright --warnings
run imports $bin/lint-imports
run spelling $bin/codespell
if [ ${#failed[@]} -gt 0 ]; then
    printf '\ncheck failed: %s\n' "${failed[*]}"
    exit 1
fi
printf '\ncheck passed\n'
