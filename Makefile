# Everything runs in .venv, made here from the lock files. Needs make and a Python 3 with venv: where it is neither
# 3.11 nor 3.12, the one below is fetched into .python. UV_PYTHON_DOWNLOADS_JSON_URL or UV_PYTHON_INSTALL_MIRROR
# say where from, if not where uv has it from.

VENV := .venv
BIN := $(VENV)/bin
UV := uv==0.13.8
AUDIT := pip-audit==2.10.1
PYTHON_VERSION := 3.12.16
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo page screenshots test test-slow test-long lint check bench quality chaos soak audit lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name says; do \
	  printf '  make %-9s %s\n' "$$name" "$$says"; done

demo: $(VENV)/.runtime ## a synthetic shop to click in, until Ctrl-C (ONCE=1: a short run that checks itself)
	@$(BIN)/penstock demo $(if $(ONCE),--once)

test: $(VENV)/.dev ## the quick tests
	@$(BIN)/python -m pytest -n 2 -m "not slow and not long"

test-slow: $(VENV)/.dev ## the slow tests: processes that are killed, stopped and taken over, long learning
	@$(BIN)/python -m pytest -n 2 -m slow

test-long: $(VENV)/.dev ## what takes minutes each: whole logs by hand, a million members
	@$(BIN)/python -m pytest -m long

lint: $(VENV)/.dev ## style, format, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint test ## lint and the quick tests: before every commit

bench: $(VENV)/.dev ## the table of figures (ROWS=cpu,floor or QUICK=1: a part of it), then each part of the code
	@$(BIN)/python -m benchmarks.table $(if $(ROWS),--rows $(ROWS)) $(if $(QUICK),--quick)
	@$(if $(ROWS)$(QUICK),true,$(BIN)/python -m benchmarks.reading)
	@$(if $(ROWS)$(QUICK),true,$(BIN)/python -m benchmarks.decode)
	@$(if $(ROWS)$(QUICK),true,$(BIN)/python -m benchmarks.recommend)
	@$(if $(ROWS)$(QUICK),true,$(BIN)/python -m benchmarks.messages)
	@$(if $(ROWS)$(QUICK),true,$(BIN)/python -m benchmarks.redis_cost)
	@$(if $(ROWS)$(QUICK),true,$(BIN)/python -m benchmarks.segments)

chaos: $(VENV)/.dev ## kill, pause, cut and fill up everything, and compare with an undisturbed run (10 min)
	@$(BIN)/python -m tests.chaos --write docs/chaos.md

soak: $(VENV)/.dev ## 30 minutes at half of the highest rate, ever new shoppers: memory, rate, freshness
	@$(BIN)/python -m benchmarks.soak

quality: $(VENV)/.dev ## quality of lists and clusters, beside the baselines
	@$(BIN)/python -m benchmarks.quality
	@$(BIN)/python -m benchmarks.stability
	@$(BIN)/python -m benchmarks.clusters
	@$(BIN)/python -m benchmarks.propensity
	@$(BIN)/python -m benchmarks.factors

page: $(VENV)/.dev ## the page under load: 50 open tabs for 5 minutes, a million members in one segment
	@$(BIN)/python -m benchmarks.page

screenshots: $(VENV)/.dev ## the pictures in docs/page anew, from the demo in a real browser
	@$(BIN)/python -m tests.screenshots docs/page

audit: $(VENV)/.dev ## the locked packages against the public vulnerability database, and their licences
	@$(BIN)/python -m venv .cache/audit
	@.cache/audit/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(AUDIT)
	@$(BIN)/python -m tests.dependencies .cache/audit/bin/pip-audit --write docs/dependencies.md

lock: $(BIN)/python ## lock again after a change of pyproject.toml (UPGRADE=1: to the newest releases)
	@$(PIP) install $(UV)
	@$(LOCK) --extra dashboard --extra serve pyproject.toml --output-file requirements.lock
	@$(LOCK) --constraints requirements.lock --extra dev pyproject.toml --output-file requirements-dev.lock

clean: ## forget .venv, builds and caches
	@rm -rf $(VENV) .python build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

# Valid for both Pythons and every Linux or macOS machine. One version of a package for both Pythons,
# so that they compute alike.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --custom-compile-command "make lock" --group build $(if $(UPGRADE),--upgrade)

# A pyenv shim or a Debian Python without python3-venv is found by name and yet does not serve.
SERVES := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

$(BIN)/python:
	@for python in $(or $(PYTHON),python3.12 python3.11 python3 python); do \
	  if "$$python" -c '$(SERVES)' 2>/dev/null; then \
	    echo "setup: $(VENV) with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	$(if $(PYTHON),,$(FETCH);) \
	echo "setup: no Python 3.11 or 3.12 with venv found: install one (Debian, Ubuntu: apt-get install python3-venv)" \
	  "or name it: make PYTHON=/path/to/python3.12" >&2; exit 1

# uv of the version locked above knows the checksum of the Python that it fetches; one of the machine serves as well.
define FETCH
echo "setup: no Python 3.11 or 3.12 with venv found: fetching Python $(PYTHON_VERSION) into .python"; \
for python in python3 python; do \
  "$$python" -m venv --clear .python/uv >/dev/null 2>&1 || continue; \
  .python/uv/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(UV) && break; \
done; \
for uv in .python/uv/bin/uv uv; do \
  "$$uv" --version >/dev/null 2>&1 || continue; \
  "$$uv" python install --quiet --no-bin --no-cache --no-config --install-dir .python $(PYTHON_VERSION) || continue; \
  for python in .python/cpython-$(PYTHON_VERSION)-*/bin/python3; do \
    rm -rf .python/uv; \
    echo "setup: $(VENV) with $$("$$python" --version), fetched"; \
    exec "$$python" -m venv --clear $(VENV); \
  done; \
done
endef

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setup: locked packages of $<"
	@$(INSTALL)
	@$(WARM)
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "setup: locked packages of $<"
	@$(INSTALL)
	@$(WARM)
	@touch $@ $(VENV)/.runtime

# The hashes hold for everything downloaded; the project itself is built by the locked hatchling.
INSTALL = $(PIP) install --only-binary :all: --require-hashes --requirement $< \
  && $(PIP) install --no-deps --no-build-isolation --editable .

# Without a cache that can be written the first start compiles: no reason to fail here.
WARM = $(BIN)/penstock warm || true
