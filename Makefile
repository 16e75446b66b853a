# `make` lists what there is. Each target sets up what it needs: a bare machine with make and a Python >= 3.11 is enough.
# make PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv.

SHELL := /bin/bash
BIN := .venv/bin
# One more than there are cores: a good part of the tests waits for clocks and for processes that start.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
export PYTHON
# A command whose modules have to be compiled each time takes twice as long to start, and the tests start thousands.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-demo demo test crash-campaign fuzz fuzz-quick egress-campaign check format docs bench bench-quick coverage lock dist clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

setup: ## make .venv with everything that development needs, from hash-checked locks
	@tools/setup.sh dev

setup-demo:
	@[ -f .venv/.ropewalk-dev ] && tools/setup.sh dev || tools/setup.sh demo

demo: setup-demo ## sync a real API into activities while its own node is killed twice (under 90 s)
	@$(BIN)/python -m examples.demo

test: setup ## run every test, on all cores (ARGS='-k name' goes to pytest, ARGS='-n 0' runs them one after another)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

fault-campaign: setup ## kill a node at 200 random moments of a sync; a short form of it is among the tests
	@$(BIN)/python -m pytest -m campaign tests/faults $(ARGS)

crash-campaign: setup ## kill nodes 2,000 times at and amid their commits (ARGS='--seed 7 --kills 500', ARGS=--mutants plants bugs)
	@$(BIN)/python -m tests.crash $(ARGS)

fuzz: setup ## fuzz the host for 30 minutes, guided by coverage, and send it a million frames (ARGS='--minutes 5')
	@$(BIN)/python -m tests.fuzz $(ARGS)

fuzz-quick: setup ## the same in about a minute; it is among the tests
	@$(BIN)/python -m pytest tests/fuzz $(ARGS)

egress-campaign: setup ## fetch a million URLs and hold what was sent against what was checked; a short form is among the tests
	@$(BIN)/python -m tests.egress.campaign $(ARGS)

check: setup ## format, lint, types, import contracts, spelling: all that CI checks beside the tests
	@tools/check.sh

format: setup ## let ruff rewrite what it can
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

docs: setup ## write the tables of docs/wire.md and docs/security.md from the code
	@$(BIN)/python -m tools.wire_doc
	@$(BIN)/python -m tools.security_doc

bench: setup ## measure against bare fork on this machine; writes bench/out/latest.json
	@$(BIN)/python -m bench $(ARGS)

bench-quick: ## the same in under a minute, to see that it works
	@$(MAKE) --no-print-directory bench ARGS=--quick

coverage: setup ## run every test under branch coverage
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lock: setup ## resolve the dependencies again (ARGS=--upgrade takes newer ones)
	@tools/lock.sh $(ARGS)

dist: setup ## build the wheel and the sdist into dist/
	@$(BIN)/hatchling build

clean: ## remove what the other targets left, but for .venv
	@rm -rf .demo build dist bench/out .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .fuzz
	@find src tests bench examples tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove .venv too
	@rm -rf .venv
