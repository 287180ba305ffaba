# Portcullis, from a bare checkout. Needs python 3.11 or newer, git and make, and for OPA go or internet.

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps

.DEFAULT_GOAL := setup
.PHONY: setup provider run tour test bench clients conformance requirements clean

# --- set-up: each stamp is made once, and again when what it was made from changes --------------------------------

setup: $(STAMPS)/opa

$(STAMPS)/python:
	@python=; for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    if $$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        python=$$name; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "make: no Python 3.11 or newer with its venv module was found; name one with: make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	fi; \
	echo "Creating $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/requirements: requirements-dev.txt $(STAMPS)/python
	@echo "Installing the pinned requirements"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(STAMPS)/project: pyproject.toml $(STAMPS)/requirements
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/opa: gateway/pdp/opa_binary.py $(STAMPS)/project
	@$(BIN)/portcullis opa install
	@touch $@

# The tests run a PostgreSQL of their own. Where this may be installed it is, without the service that would come with it;
# where it is missing, the tests on it are skipped, and fail in CI.
FIND_POSTGRESQL := $(BIN)/python -c 'import sys; from tests.support.postgresql import binaries; sys.exit(not binaries())'

$(STAMPS)/postgresql: $(STAMPS)/project
	@if ! $(FIND_POSTGRESQL) && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing PostgreSQL for the tests"; \
	    mkdir -p /etc/postgresql-common && [ -e /etc/postgresql-common/createcluster.conf ] || \
	        echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf; \
	    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } \
	        >/dev/null 2>&1 || true; \
	fi
	@$(FIND_POSTGRESQL) || echo "make: PostgreSQL is not here, so nothing is tested on it: apt-get install postgresql" >&2
	@if $(FIND_POSTGRESQL); then touch $@; fi

# The tests' OpenID provider, which needs node and npm; without it the tests on it are skipped, and fail in CI.
provider: tests/provider/node_modules/.package-lock.json

tests/provider/node_modules/.package-lock.json: tests/provider/package-lock.json
	@echo "Installing the tests' OpenID provider"
	@npm ci --prefix tests/provider --loglevel=error >/dev/null
	@touch $@

# --- use ----------------------------------------------------------------------------------------------------------

# The demo: issuer, MCP servers and gateway, with tokens and the recipe's commands to paste. Ctrl-C stops it all.
run: setup
	@exec $(BIN)/python examples/front-door/run.py $(ARGS)

# The recipe plays itself and checks each answer.
tour: setup
	@exec $(BIN)/python examples/front-door/tour.py $(ARGS)

# What it costs to know who asks, what a request costs, how soon withdrawals and revocations count, what the ledger costs.
bench: setup
	@$(BIN)/python -m bench.credentials $(ARGS)
	@$(BIN)/python -m bench.gateway $(ARGS)
	@$(BIN)/python -m bench.withdrawal $(ARGS)
	@$(BIN)/python -m bench.revocation $(ARGS)
	@$(BIN)/python -m bench.ledger $(ARGS)

# --- checks: everything that CI runs ------------------------------------------------------------------------------

# What holds alerts and dashboard to Prometheus' own reading; without go, the rest of the tests does.
$(STAMPS)/promtool: tests/prometheus/go.mod tests/prometheus/go.sum $(STAMPS)/requirements
	@$(BIN)/python -m tests.support.promtool
	@touch $@

test: setup $(STAMPS)/postgresql $(STAMPS)/promtool
	-@$(MAKE) --no-print-directory provider
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/portcullis policy check --cases tests/cases examples/policies
	$(BIN)/portcullis policy test --cases tests/cases --coverage examples/policies
	@if command -v regal >/dev/null; then set -x; regal lint policies; fi
	$(BIN)/pytest $(ARGS)

# What the two below need besides: the conformance suite, clients, and a node where the machine's is too old.
$(STAMPS)/npm: tests/conformance/npm/package-lock.json tests/conformance/npm.py $(STAMPS)/opa
	@echo "Installing the pinned packages of npm"
	@$(BIN)/python -m tests.conformance.npm
	@touch $@

# Clients of other makers through the gateway.
clients: $(STAMPS)/npm
	$(BIN)/pytest -m npm tests/conformance $(ARGS)

# The official conformance suite, straight at a server that has everything and through the gateway, and the clients
# (ARGS: see tests/conformance/__main__.py; with any, the clients are left out).
conformance: $(STAMPS)/npm
	@failed=0; \
	$(if $(ARGS),:,$(BIN)/pytest -m npm tests/conformance || failed=1); \
	$(BIN)/python -m tests.conformance $(ARGS) || failed=1; \
	exit $$failed

# --- upkeep -------------------------------------------------------------------------------------------------------

# Recompiles the locks (ARGS=--upgrade to move them); where packages come from is the machine's business.
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
           --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

requirements: $(STAMPS)/requirements
	$(COMPILE) $(ARGS) --output-file requirements.txt pyproject.toml
	$(COMPILE) $(ARGS) --extra otel --output-file requirements-otel.txt pyproject.toml
	$(COMPILE) $(ARGS) --extra dev --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) tests/conformance/npm/node_modules tests/provider/node_modules .run build dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +
