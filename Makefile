# Works with GNU make 3.81 (macOS) and any clone path. `make help` lists the targets.

PYTHON ?= python3
# For `make test PYTEST_ARGS='-k sse'`, `make bench BENCH_ARGS='--rounds 1'` and
# `make lock LOCK_ARGS=--upgrade`.
PYTEST_ARGS ?=
BENCH_ARGS ?= --rounds 5 --seconds 1
LOCK_ARGS ?=
# Most tests wait more than they compute. Who is done takes over from who is not.
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
PIP_LOUD := $(BIN)/python -m pip --disable-pip-version-check --no-input
PIP := $(PIP_LOUD) --quiet
# Wheels only: an sdist would run build code that no hash here covers. Counts the packages while pip
# fetches them; pip's own words are shown if it fails.
PIP_INSTALL_LOCK = show_progress() { \
		count=0; \
		while read -r word rest; do case $$word in \
			Collecting) count=$$((count + 1)); \
				if [ -t 1 ]; then printf '\r  %s packages' $$count; \
				elif [ $$((count % 20)) = 0 ]; then echo "  $$count packages"; fi ;; \
			Installing) if [ -t 1 ]; then printf '\r'; fi; echo "  $$count packages fetched, unpacking them" ;; \
			pip-ended) [ "$$rest" = 0 ] || cat $(VENV)/pip.log >&2; return "$$rest" ;; \
		esac; done; }; \
	{ $(PIP_LOUD) install --progress-bar off --require-hashes --only-binary :all: -r $(1) 2>&1; \
		echo "pip-ended $$?"; } | tee $(VENV)/pip.log | show_progress
# uv takes a tenth of pip's CPU time. pip takes over where uv is missing or fails, and where pip has
# settings that uv does not read.
INSTALL_LOCK = @if [ -x $(BIN)/uv ] && \
	! $(PIP_LOUD) config list | grep -qE '\.(index-url|no-index|proxy|client-cert)=' && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --only-binary :all: -r $(1); \
	then exit 0; fi; $(call PIP_INSTALL_LOCK,$(1))
EDITABLE := --no-deps --no-build-isolation --editable .
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' pyproject.toml --group build
GENERATED := configuration.md config.schema.json cli.md metrics-reference.md admin-api.md errors-reference.md
WRITE_REFERENCE = mkdir -p $(VENV)/docs && \
	$(BIN)/python -m gateway.config.reference > $(VENV)/docs/configuration.md && \
	$(BIN)/gateway schema > $(VENV)/docs/config.schema.json && \
	$(BIN)/python -m gateway.cli.reference > $(VENV)/docs/cli.md && \
	$(BIN)/python -m gateway.telemetry.metrics.reference > $(VENV)/docs/metrics-reference.md && \
	$(BIN)/python -m gateway.admin.reference > $(VENV)/docs/admin-api.md && \
	$(BIN)/python -m gateway.error_meanings > $(VENV)/docs/errors-reference.md
# The oldest supported aiohttp. On PYTHONPATH it comes before the locked one.
OLDEST := $(VENV)/oldest
# mypy ends with 2, not 1, where a worker takes longer than 3 s to start, as on a busy machine.
MYPY := $(BIN)/mypy --strict
TYPED := gateway tests benchmarks examples/plugin
NODE_MODULES := tests/node/node_modules/.package-lock.json

MAKEFLAGS += --no-builtin-rules
# A new clone has hundreds of files to compile, which each process would do again.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips at once in one .venv would get in each other's way.
.NOTPARALLEL:
.PHONY: help run test test-oldest nightly check bench wheel docs reference site lock clean programs checked \
	system

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.project ## Serve config.yaml with the built-in demo backend; needs python3 >= 3.11 only
	@exec $(BIN)/gateway serve --config config.yaml

test: $(BIN)/python ## Set up what the tests need, then check and run every test
	@$(MAKE) --no-print-directory programs & programs=$$!; \
		$(MAKE) --no-print-directory checked; checked=$$?; \
		wait $$programs || { echo 'Programs that the tests drive are missing: see above.' >&2; exit 1; }; \
		exit $$checked
	@$(BIN)/pytest $(IN_PARALLEL) $(PYTEST_ARGS) || { \
		[ $$? = 1 ] || exit 1; \
		echo 'Once more, alone: the tests that failed. One that passes now is flaky, which is a fault, too.'; \
		$(BIN)/pytest --last-failed --last-failed-no-failures none $(PYTEST_ARGS); }

test-oldest: $(VENV)/.dev $(VENV)/.project $(OLDEST)/.installed ## Run what depends on aiohttp's internals with its oldest supported version
	PYTHONPATH="$$PWD/$(OLDEST)" $(BIN)/pytest tests/test_aiohttp_adaptor.py tests/server \
		tests/wire/test_parsing.py tests/wire/test_parser_load.py tests/wire/test_request_bodies.py \
		tests/middleware/test_plugin.py $(PYTEST_ARGS)

nightly: system $(VENV)/.dev $(VENV)/.project ## Run what takes too long for every change: 5 min of chaos, properties in depth
	$(BIN)/pytest tests/chaos --chaos-seconds 300
	$(BIN)/pytest $(IN_PARALLEL) -m hypothesis --hypothesis-profile nightly --timeout 600

check: $(VENV)/.dev $(VENV)/.project ## Lint, format, types, and generated docs up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MYPY) --num-workers 2 $(TYPED) || { [ $$? = 2 ] && $(MYPY) $(TYPED); }
	@$(WRITE_REFERENCE)
	@for file in $(GENERATED); do diff -u docs/$$file $(VENV)/docs/$$file || { \
		echo "docs/$$file is out of date: run \`make reference\`" >&2; exit 1; }; done

bench: $(VENV)/.dev $(VENV)/.project $(VENV)/peers/.installed ## Measure beside nginx, Envoy and others, into docs/performance.md
	$(BIN)/python -m benchmarks report --write $(BENCH_ARGS)

wheel: $(VENV)/.project ## Build the wheel and the source distribution, into dist/
	$(BIN)/python -m hatchling build -d dist

docs: reference site ## Write the generated pages anew, and build all pages as a site with search

reference: $(VENV)/.project ## Write the generated pages anew, which takes a second
	$(WRITE_REFERENCE)
	cp $(VENV)/docs/* docs/

site: $(VENV)/.dev $(VENV)/.project ## Build the documentation as a site with search, into dist/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f docs/site/mkdocs.yml
	@echo 'To read it: $(BIN)/python -m http.server --directory dist/site'

# Keeps the versions already locked; LOCK_ARGS=--upgrade or '--upgrade-package NAME' moves them.
lock: $(VENV)/.dev ## Write the lock files anew from pyproject.toml and tests/node/package.json
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements.lock
	$(UV_COMPILE) --group dev --constraint requirements.lock $(LOCK_ARGS) \
		--output-file requirements-dev.lock
	sed -n 's/^ *"aiohttp>=\([0-9.]*\),.*/aiohttp==\1/p' pyproject.toml | $(BIN)/uv pip compile --quiet \
		--universal --no-deps --generate-hashes --custom-compile-command 'make lock' - \
		--output-file tests/oldest.lock
	cd tests/node && npm install --package-lock-only --ignore-scripts --no-audit --no-fund \
		--omit-lockfile-registry-resolved

clean: ## Remove what make made: .venv, node_modules, caches
	rm -rf $(VENV) tests/node/node_modules dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find gateway tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The two that `make test` has done side by side: this mostly waits for downloads, and touches nothing
# of .venv.
programs: system $(NODE_MODULES)

checked: check $(OLDEST)/.installed $(VENV)/.compiled

system:
	@sh tests/setup-system

# What is installed, each step stamped so that it runs again only when its input changed.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "The gateway needs Python 3.11 or newer, but $(PYTHON) says:" \
			"$$($(PYTHON) --version 2>&1). Install one, or name the one to use:" \
			"make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv module is missing." \
			"On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo 'Making $(VENV)'
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.run: requirements.lock $(BIN)/python
	@echo 'Installing requirements.lock'
	$(call INSTALL_LOCK,requirements.lock)
	@touch $@

# Before .run, which then uses it. `make run` needs none.
$(VENV)/.uv: requirements-dev.lock $(BIN)/python
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.lock > $(VENV)/uv.lock
	@$(PIP) install --no-deps --require-hashes --only-binary :all: -r $(VENV)/uv.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.uv $(VENV)/.run
	@echo 'Installing requirements-dev.lock'
	$(call INSTALL_LOCK,requirements-dev.lock)
	@touch $@

# Compiles what the tests import, once. Otherwise each of pytest's processes would in a new clone.
$(VENV)/.compiled: $(VENV)/.dev $(VENV)/.project
	@echo 'Compiling the tests and what they import'
	@$(BIN)/pytest --collect-only --quiet tests/[a-r]*/ > /dev/null 2>&1 & \
		$(BIN)/pytest --collect-only --quiet tests/[s-z]*/ tests/*.py > /dev/null 2>&1; wait
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.run
	@{ [ -x $(BIN)/uv ] && $(BIN)/uv pip install --quiet --python $(BIN)/python $(EDITABLE); } || \
		$(PIP) install $(EDITABLE)
	@{ [ -x $(BIN)/uv ] && $(BIN)/uv pip check --quiet --python $(BIN)/python; } || $(PIP) check || { \
		echo 'pyproject.toml asks for what the lock does not hold: run `make lock`' >&2; exit 1; }
	@touch $@

$(OLDEST)/.installed: tests/oldest.lock $(VENV)/.run
	@echo 'Installing tests/oldest.lock'
	@rm -rf $(OLDEST)
	$(call INSTALL_LOCK,tests/oldest.lock --no-deps --target $(OLDEST))
	@touch $@

$(VENV)/peers/.installed: benchmarks/peers.txt benchmarks/setup-peers $(BIN)/python
	@echo 'Installing the peers of the benchmarks'
	@sh benchmarks/setup-peers $(VENV)/peers
	@touch $@

$(NODE_MODULES): tests/node/package.json tests/node/package-lock.json
	cd tests/node && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
