# What can be done in this repository; `make` alone lists it. Everything happens inside $(VENV): nothing is installed
# elsewhere, nothing needs root. Two stamps: the demo needs only what the signer needs, developers add the rest.

VENV ?= .venv
PYTHON ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Every package by hash, and only as a wheel: an install runs no code of a package. The one exception has no wheel: what
# its source runs is setuptools of the same lock (requirements/build.txt, installed before), and nothing is fetched.
INSTALL := $(PIP_INSTALL) --require-hashes --only-binary :all:
FROM_SOURCE := --no-binary pysyncobj --no-build-isolation --use-pep517
RUNTIME := $(VENV)/.cmkms-runtime
DEV := $(VENV)/.cmkms-dev
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)
# As many files of tests at once as there are processors; `make test JOBS=0` runs one after the other, in one process.
JOBS ?= auto
AT_ONCE := -n $(JOBS) --maxprocesses 4 --dist loadfile

# What `make sim` is given, as options: SEED SEEDS REPLICAS SECONDS WITHOUT OUT; SIM_ARGS takes others, as --shrink.
SIM_GIVEN = $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(REPLICAS),--replicas $(REPLICAS)) \
	$(if $(SECONDS),--seconds $(SECONDS)) $(if $(WITHOUT),--without $(WITHOUT)) $(if $(OUT),--out $(OUT))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

##@ Try it

.PHONY: demo
demo: $(RUNTIME) ## three replicas sign for a simulated validator; one is killed, one is stopped
	@$(BIN)/python -m demo $(DEMO_ARGS)

.PHONY: demo-node
demo-node: $(RUNTIME) ## the same with a real CometBFT node, built from a pinned version (needs Go)
	@$(BIN)/python -m demo --build-node $(DEMO_ARGS)

##@ Work on it

.PHONY: venv
venv: $(DEV) ## install everything from the lock into $(VENV)

.PHONY: test
test: $(DEV) ## the test suite: minutes, needs nothing but this machine
	$(PYTEST) $(AT_ONCE)

# Campaigns that see no real clock, so that nothing beside them makes any difference; all others are real.
SIMULATED := tests/fuzz/test_campaign.py tests/property tests/sim tests/spec tests/unit
# Takes all processors for itself.
LIVES := three_hundred_lives
PROOF := $(PYTEST) -m "proof and not slow and not realnode"

.PHONY: proof
proof: proof-real proof-simulated ## campaigns of faults, real and simulated: kills, cuts, hostile input, seeds, seeded bugs

.PHONY: proof-real
proof-real: $(DEV)
	$(PROOF) $(AT_ONCE) $(addprefix --ignore=,$(SIMULATED)) tests

.PHONY: proof-simulated
proof-simulated: $(DEV)
	$(PROOF) $(AT_ONCE) -k "not $(LIVES)" $(SIMULATED)
	$(PROOF) -k $(LIVES) tests/sim/campaign

.PHONY: sim
sim: $(DEV) ## the cluster under virtual time: SEED=7 tells one story, SEEDS=1-300 counts, OUT=file.json keeps the sums
	@$(BIN)/python -m tests.sim.campaign $(SIM_GIVEN) $(SIM_ARGS)

.PHONY: realnode
realnode: $(DEV) ## tests against real CometBFT nodes (needs Go or ready-made binaries)
	$(PYTEST) $(AT_ONCE) -m "realnode and not slow"

.PHONY: test-all
test-all: $(DEV) ## every test there is, the long ones too; before a release
	$(PYTEST) -m ""

.PHONY: bench
bench: $(DEV) ## latency of a signature, beside the reference signer where Go is present; time from start to ready
	$(BIN)/python benchmarks/sign_latency.py $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.floor
	$(BIN)/python -m benchmarks.starting

.PHONY: failover
failover: $(DEV) ## how long a validator stands still when a replica is killed or stopped
	$(BIN)/python benchmarks/failover.py $(BENCH_ARGS)

.PHONY: spec
spec: $(RUNTIME) ## check the formal model with Spin and write docs/spec/results.md: minutes
	$(BIN)/python docs/spec/check.py $(or $(SPEC_ARGS),--results docs/spec/results.md)

##@ Check it

.PHONY: lint
lint: lint-style lint-format lint-mypy lint-pyright lint-imports lint-proto ## all of these; with `make -k` past the first failure

.PHONY: lint-style
lint-style: $(DEV) ## ruff, all rules but a commented list
	$(BIN)/ruff check .

.PHONY: lint-format
lint-format: $(DEV) ## ruff's formatter changes nothing
	$(BIN)/ruff format --check .

.PHONY: lint-mypy
lint-mypy: $(DEV) ## mypy, strict
	$(BIN)/mypy

.PHONY: lint-pyright
lint-pyright: $(DEV) ## pyright, strict
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python

.PHONY: lint-imports
lint-imports: $(DEV) ## the layers, and what the pure parts may import
	$(BIN)/lint-imports

.PHONY: lint-proto
lint-proto: $(DEV) ## the checked-in generated code is what proto/ generates
	$(BIN)/python proto/regenerate.py --check

##@ Keep it

.PHONY: format
format: $(DEV) ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One lock for every supported Python on Linux; `make lock LOCK_ARGS=--upgrade` takes newer versions.
# For what has no wheel uv asks the setuptools of $(VENV), instead of fetching another.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--python $(BIN)/python --no-build-isolation --generate-hashes --no-emit-index-url --no-emit-find-links $(LOCK_ARGS)

.PHONY: lock
lock: ## write requirements/*.txt anew from pyproject.toml
	@test -x $(BIN)/uv || $(MAKE) $(DEV)
	$(LOCK) pyproject.toml -o requirements/runtime.txt >/dev/null
	$(LOCK) --group build -o requirements/build.txt >/dev/null
	$(LOCK) pyproject.toml --group dev -c requirements/runtime.txt -c requirements/build.txt \
		-o requirements/dev.txt >/dev/null

.PHONY: clean
clean: ## remove caches and built packages, keep $(VENV)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove $(VENV)
	rm -rf $(VENV)

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------------------------- environments

$(RUNTIME): requirements/runtime.txt requirements/build.txt pyproject.toml requirements/venv.sh
	@PYTHON="$(PYTHON)" requirements/venv.sh $(VENV)
	@echo "Installing what cmkms needs into $(VENV), by the hashes of requirements/runtime.txt ..."
	@$(INSTALL) -r requirements/build.txt
	@$(INSTALL) $(FROM_SOURCE) -r requirements/runtime.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	@echo "Installing the tools of development into $(VENV), by the hashes of requirements/dev.txt ..."
	@$(INSTALL) $(FROM_SOURCE) -r requirements/dev.txt
	@touch $@
