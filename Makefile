# Every target makes the environment it needs under .venv; python3 (3.10 or newer) is enough.

PYTHON ?= python3
DISTRIBUTIONS := reflow-core reflow-slurm reflow-pbs reflow-lsf reflow-sge reflow-flux reflow-data reflow-postgres
EDITABLE := $(addprefix -e ./,$(DISTRIBUTIONS))
PIP_FLAGS := --quiet --disable-pip-version-check

DEV := .venv/dev
BENCH := .venv/bench
PEER := .venv/peer
DEMO := .venv/demo
DOCS := .venv/docs
# Outside the checkout: the ordinary user who submits must be able to run it.
LIVE := /var/tmp/reflow-live
PEER_VERSION := 2604.4.0
# Draws the diagrams of the documentation; make docs needs npm for it.
MERMAID_VERSION := 11.17.2

.DEFAULT_GOAL := help
.PHONY: help venv test postgres clusters live live-contracts live-facts lint format types contracts coverage bench bench-plugins bench-stores bench-slurm bench-schedulers demo docs config-reference json-schemas version clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp is written last, so an interrupted installation is made again.
$(DEV)/.ready: requirements-dev.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	$(call environment,$(DEV))
	$(DEV)/bin/python -m pip install $(PIP_FLAGS) $(EDITABLE) -r requirements-dev.txt
	@touch $@

$(BENCH)/.ready: reflow-core/pyproject.toml
	$(call environment,$(BENCH))
	$(BENCH)/bin/python -m pip install $(PIP_FLAGS) -e ./reflow-core
	@touch $@

# reflow-hpc owns the import name `reflow` as well, hence an environment of its own.
$(PEER)/.ready: Makefile
	$(call environment,$(PEER))
	$(PEER)/bin/python -m pip install $(PIP_FLAGS) reflow-hpc==$(PEER_VERSION)
	@touch $@

$(DEMO)/.ready: reflow-core/pyproject.toml examples/flights/requirements.txt
	$(call environment,$(DEMO))
	$(DEMO)/bin/python -m pip install $(PIP_FLAGS) -e ./reflow-core -r examples/flights/requirements.txt
	@touch $@

$(DOCS)/.ready: requirements-docs.txt
	$(call environment,$(DOCS))
	$(DOCS)/bin/python -m pip install $(PIP_FLAGS) -r requirements-docs.txt
	cd $(DOCS) && tar -xzf "$$(npm pack --silent mermaid@$(MERMAID_VERSION))" package/dist/mermaid.min.js && rm mermaid-*.tgz
	@touch $@

define environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "reflow needs Python 3.10 or newer; try: make PYTHON=python3.12 ...")'
@rm -rf $(1)
$(PYTHON) -m venv $(1)
endef

venv: $(DEV)/.ready ## Make the development environment (.venv/dev)

# Many tests wait for simulated schedulers: three at a time keep two cores busy.
test: $(DEV)/.ready ## Run all tests
	$(DEV)/bin/python -m pytest -n 3 -m "not live" tests

postgres: ## Install a PostgreSQL server from Debian's packages for the tests (as root)
	tools/servers/postgres.sh

# The schedulers that come from Debian's packages, each with a script that boots it.
CLUSTERS := $(patsubst tools/clusters/%.sh,%,$(wildcard tools/clusters/*.sh))
WANTED := $(foreach one,$(CLUSTERS),REFLOW_LIVE_$(shell echo $(one) | tr a-z A-Z)=1)

cluster-%: # Boot a real scheduler on this Debian host (as root)
	tools/clusters/$*.sh up

clusters: $(addprefix cluster-,$(CLUSTERS)) ## Boot the real schedulers that Debian has (as root); cluster-slurm: one

# Those, and what else is found on PATH or named by REFLOW_LIVE_PBS_PATH and so on (see
# tests/live/sites.py). The daemons' tests come last and alone: they stop what the others need.
# Then once more on Slurm, with nodes that see the shared folder as NFS clients do.
live: $(DEV)/.ready clusters ## Run the live tests on all real schedulers of this machine (as root)
	rm -rf $(LIVE)
	/usr/bin/python3 -m venv $(LIVE)/venv
	$(LIVE)/venv/bin/python -m pip install $(PIP_FLAGS) $(addprefix ./,$(DISTRIBUTIONS)) cloudpickle ipykernel nbclient
	REFLOW_LIVE=1 $(WANTED) REFLOW_LIVE_PYTHON=$(LIVE)/venv/bin/python \
	  $(DEV)/bin/python -m pytest -n 4 -m "live and not alone" --ignore-glob='*/test_contract.py' tests/live tests/backends
	REFLOW_LIVE=1 $(WANTED) REFLOW_LIVE_PYTHON=$(LIVE)/venv/bin/python \
	  $(DEV)/bin/python -m pytest -m "live and alone" tests/live
	mkdir -m 1777 $(LIVE)/cached
	tools/clusters/slurm.sh cache $(LIVE)/cached
	REFLOW_LIVE_SLURM=1 REFLOW_LIVE_PYTHON=$(LIVE)/venv/bin/python REFLOW_LIVE_BASE=$(LIVE)/cached \
	  $(DEV)/bin/python -m pytest -n 4 -m "live and cached" tests/live
	tools/clusters/slurm.sh restart slurmd

# Case by case a job of the real scheduler's, so this takes a while; the simulators go first, by
# `make test`.
live-contracts: $(DEV)/.ready clusters ## Hold the backends' executors to their contract on real schedulers (as root)
	REFLOW_LIVE=1 $(WANTED) REFLOW_LIVE_PYTHON=$(LIVE)/venv/bin/python \
	  $(DEV)/bin/python -m pytest -m live tests/backends -k contract

# One after the other: many facts are about limits and times that other jobs would change.
live-facts: $(DEV)/.ready clusters ## Hold the facts of the simulators to real schedulers (as root)
	$(WANTED) REFLOW_LIVE_USER=reflow $(DEV)/bin/python -m pytest -m live tests/schedulers

lint: $(DEV)/.ready ## Check style and formatting rules
	$(DEV)/bin/ruff check .

format: $(DEV)/.ready ## Sort imports and mend what ruff can mend
	$(DEV)/bin/ruff check --fix .

types: $(DEV)/.ready ## Type-check all distributions
	$(DEV)/bin/mypy

contracts: $(DEV)/.ready ## Check which module may import which
	$(DEV)/bin/lint-imports --no-cache

coverage: $(DEV)/.ready ## Run all tests and show the lines they do not reach
	$(DEV)/bin/python -m pytest -n 2 --cov --cov-report=term tests

bench: $(BENCH)/.ready $(PEER)/.ready ## Measure reflow beside reflow-hpc
	$(BENCH)/bin/python benchmarks/local.py $(BENCH)/bin/python $(PEER)/bin/python

# As the ordinary user, in a folder and with a Python that this user may use.
define bench-folder
	rm -rf $(LIVE)-bench
	mkdir -m 755 $(LIVE)-bench
	/usr/bin/python3 -m venv $(LIVE)-bench/venv
	$(LIVE)-bench/venv/bin/python -m pip install $(PIP_FLAGS) $(addprefix ./,$(DISTRIBUTIONS))
	install -d -o reflow $(LIVE)-bench/runs
	cp benchmarks/slurm.py benchmarks/schedulers.py $(LIVE)-bench/
endef
BENCH_USER := cd $(LIVE)-bench/runs && runuser -u reflow -- env -u PYTHONDONTWRITEBYTECODE -u PYTHONUNBUFFERED HOME=$(LIVE)-bench/runs ../venv/bin/python

bench-slurm: cluster-slurm ## Measure reflow on Slurm beside the same work by hand (as root)
	$(bench-folder)
	$(BENCH_USER) ../slurm.py $(ROUNDS) $(ROWS)

bench-schedulers: clusters ## Measure a chain and a diamond on schedulers beside the same by hand (as root)
	$(bench-folder)
	$(BENCH_USER) ../schedulers.py $(or $(ROUNDS),5) $(or $(SCHEDULERS),$(CLUSTERS))

bench-plugins: $(BENCH)/.ready ## Measure what installed plugins cost
	$(BENCH)/bin/python benchmarks/plugins.py

bench-stores: $(BENCH)/.ready ## Measure a store with two million instances in it
	$(BENCH)/bin/python benchmarks/stores.py

demo: $(DEMO)/.ready ## Run the flights pipeline to a plot
	$(DEMO)/bin/python examples/flights/flights.py run --run-dir demo-run
	@echo "The figure: demo-run/delays.png"

# What a page of the site needs comes from the site: no fonts, scripts or pictures of other hosts.
docs: $(DOCS)/.ready ## Build the documentation into build/site; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --strict
	cp $(DOCS)/package/dist/mermaid.min.js build/site/javascripts/
	@! grep -rnE --include='*.html' '<(script|img|iframe|link)[^>]* (src|href)="?(https?:)?//' build/site

config-reference: $(DEV)/.ready ## Write the keys in docs/reference/configuration.md from the classes
	$(DEV)/bin/python tools/config_reference.py

json-schemas: $(DEV)/.ready ## Write the options of tasks and runs in docs/reference/json from the classes
	$(DEV)/bin/python tools/json_schemas.py

version: ## Set the version of all distributions (V=0.2.0)
	$(PYTHON) tools/set_version.py $(V)

clean: ## Remove environments, caches and builds
	rm -rf .venv build dist .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
