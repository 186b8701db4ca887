# What people and CI call. Each target sets up .venv first if it has to.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
POTENTIAL := resources/potentials/m3gnet.safetensors
SOURCES := workflow/mapcsp tests
RULES := Snakefile workflow/Snakefile.training workflow/rules

.PHONY: help run test test-fast mutation bench benchmark slurm-test train check format docs constraints clean distclean

help:
	@echo "make run        predict the structures of config/formulas.csv (results in results/)"
	@echo "make test       all tests that need no cluster and no extra data"
	@echo "make test-fast  the same without those that start Snakemake"
	@echo "make mutation   how many single faults in the modules that decide an answer the tests see (half an hour)"
	@echo "make bench      how fast the stages are on this machine (results/bench.json)"
	@echo "make benchmark  predict the crystals of benchmark.table from their formulas and judge the answers"
	@echo "make check      style, types, workflow lint, generated files"
	@echo "make format     rewrite Python and rules in the house format"
	@echo "make docs       write config/config.yaml, config/README.md and workflow/schemas from the settings"
	@echo "make slurm-test a small run through a SLURM that it starts itself (root; installs Debian's packages)"
	@echo "make train      train all eight shipped models on the tables of training.data (some five hours; one: see README)"
	@echo "make clean      delete results and caches; make distclean also deletes .venv and fetched weights"

# torch is asked for by itself and exactly: a range would bring its newest build with gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mapcsp needs Python 3.11 or newer; make PYTHON=python3.x")'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev,browser]'
	touch $@

# Tests of the potential are skipped without its weights; runs fetch them by their own rule.
$(POTENTIAL): | $(READY)
	$(BIN)/mapcsp fetch-potential

run: $(READY)
	$(BIN)/snakemake --cores all

test: $(READY) $(POTENTIAL)
	$(BIN)/python -m pytest -n auto --dist loadgroup -m 'not slurm and not scale and not deployment'

test-fast: $(READY) $(POTENTIAL)
	$(BIN)/python -m pytest -n auto --dist loadgroup -m 'not slurm and not scale and not deployment and not workflow'

mutation: $(READY) $(POTENTIAL)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	$(BIN)/python tests/mutation/run.py

slurm-test: $(READY)
	tests/slurm/install.sh $(BIN)/python
	$(BIN)/python -m pytest -m slurm -rs

# Forced: a fresh clone's weights are newer than the tables, and nothing would be trained. What a stopped training has
# finished lies in results/training and is not done again; delete that folder to begin anew.
train: $(READY) $(POTENTIAL)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[training,sevennet]'
	$(BIN)/snakemake --snakefile workflow/Snakefile.training --cores all --forceall train

bench: $(READY) $(POTENTIAL)
	$(BIN)/mapcsp bench --output results/bench.json
	cat results/bench.json

benchmark: $(READY) $(POTENTIAL)
	$(BIN)/snakemake --cores all benchmark
	cat results/benchmark/table.md

check: $(READY)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/snakefmt --check $(RULES)
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(BIN)/mapcsp settings-docs --check

format: $(READY)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt $(RULES)

docs: $(READY)
	$(BIN)/mapcsp settings-docs

constraints: $(READY)
	( echo "# The versions that mapcsp is tested with; pip install -c constraints.txt. Renewed with \`make constraints\`."; \
	  ( $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; grep '^sevenn==' constraints.txt ) | sort -fu ) > constraints.new
	mv constraints.new constraints.txt

clean:
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

distclean: clean
	rm -rf $(VENV) resources/potentials
