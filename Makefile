# A machine needs Python 3.11 or newer, pip and make. Every target first does whatever set-up is missing, once.

PYTHON ?= python3
LAB ?= demo-lab
PLANS ?= 100000
MINUTES ?= 60

PY := .venv/bin/python
INSTALLED := .venv/.installed
ON_BOTH := $(addprefix tests/test_,$(addsuffix .py,compile spark sparkqueries checks conversion engine))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-spark test-spark-local bench-data lint fuzz-plans accuracy train-offline lab

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  with another Python: make PYTHON=python3.12 setup; with another folder: make LAB=other demo'

setup: $(INSTALLED) ## make .venv and install everything into it, as pinned in constraints.txt

demo: $(INSTALLED) ## the whole story on a real API, in the folder LAB
	$(PY) -m agentlab.story --lab $(LAB)

test: $(INSTALLED) ## all tests and doctests; make test ARGS='-k undo' runs some
	$(PY) -m pytest $(ARGS)

lint: $(INSTALLED) ## ruff, its formatter, mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test-spark-local: $(INSTALLED) ## what both engines must compute alike, on Spark on two cores; needs Java
	$(PY) -m pytest --engine 'local[2]' -m 'not million' $(ON_BOTH) $(ARGS)

test-spark: test-spark-local ## the same, then a million rows, on a master with a worker
	$(PY) tests/spark_cluster.py $(PY) -m pytest -s --engine {master} tests/test_spark.py tests/test_sparkqueries.py $(ARGS)

bench-data: $(INSTALLED) ## quality, pulls and transformations against their peers; make bench-data ARGS=--small is quicker
	$(PY) -m pip install --disable-pip-version-check -q -c constraints.txt -r tests/benchmarks/requirements.txt
	$(PY) tests/benchmarks/data.py $(ARGS)

fuzz-plans: $(INSTALLED) ## PLANS plans by chance from the real grammar, on live catalogs
	$(PY) tests/fuzz_plans.py --plans $(PLANS)

accuracy: $(INSTALLED) ## how often plans end in the right state, beside baselines; make accuracy ARGS='--limit 20' is quick
	$(PY) -m finetune.accuracy $(ARGS)

train-offline: $(INSTALLED) ## an offline model from random weights on one CPU thread, in MINUTES
	$(PY) -m finetune.examples finetune/out/data --size 200000
	OMP_NUM_THREADS=1 $(PY) -m finetune.pretrain finetune/out/data finetune/out/run --minutes $(MINUTES) --muon 0.01 --word-dropout 0.04
	$(PY) -m finetune.calibrate finetune/out/run/model --write

lab: $(INSTALLED) ## JupyterLab on the first notebook
	$(PY) -m jupyterlab notebooks/00_quickstart.ipynb

$(INSTALLED): pyproject.toml constraints.txt | .venv/bin/pip
	@echo 'Installing agentlab and all its extras; the first time takes a few minutes.'
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

# bin/pip is what venv makes last, so a set-up that was cut off is taken up again. Debian ships Python without ensurepip,
# unless python3-venv is installed; there the machine's own pip puts pip into the new environment.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo >&2 \
	  "agentlab needs Python 3.11 or newer; '$(PYTHON) --version' says: $$($(PYTHON) --version 2>&1 || true)." \
	  "Name a newer one: make PYTHON=python3.12 setup"; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
	else $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(PY) install pip; fi || { echo >&2 \
	  "'$(PYTHON) -m venv' can't make .venv; the reason is above. On Debian and Ubuntu:" \
	  "apt-get install python3-venv python3-pip; or name another Python: make PYTHON=python3.12 setup"; exit 1; }
