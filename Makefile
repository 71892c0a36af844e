# Every target does its own set-up: the environment is made on first use, and again when setup.py or the list of source
# files changes. Recipes call `python -m tool`, so the checkout may lie in a path with spaces.
#
#   make test PYTHON=python3.12 VENV=.venv-3.12      another interpreter, in an environment of its own
#   make test ARGS="-k coral -x"                     arguments for pytest (likewise for demo and notebooks)
#   make test WORKERS=0                              in one process; by default one for each core
#   make networks TORCH=torch                        another release of torch
#   make gpu-check CUDA=13                           CuPy for CUDA 13; by default for 12, which newer drivers run too

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TORCH ?= torch==2.13.0
WORKERS ?= logical
CUDA ?= 12

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet

# An editable install in strict mode links file by file: it is repeated when the list of files has another checksum.
FILES := $(VENV)/.files-$(shell find shallowda kernels -type f ! -name '*.pyc' | LC_ALL=C sort | cksum | cut -d ' ' -f 1)
INSTALLED := $(VENV)/.installed-

# Without build isolation a later re-install needs no network.
INSTALL = $(PIP) install --no-build-isolation
# Of what setup.py names, the lowest release that has a wheel for the interpreter; of what that needs in turn, the newest.
OLDEST = $(PIP) install uv && $(PY) -m uv pip install --python $(PY) --quiet --upgrade --no-build \
    --resolution lowest-direct

.PHONY: help demo test test-oldest networks lint types notebooks tables docs bench gpu-check clean
.NOTPARALLEL:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED)demo ## Run the demonstration
	$(PY) -m shallowda.demo $(ARGS)

# One BLAS thread in each of several workers: threads of all of them would wait for each other.
test: $(INSTALLED)test ## Run the tests, on all cores
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) $(ARGS)

# Old releases call what newer ones of their own needs deprecate. What we call is in the hands of `make test`.
test-oldest: ## Run the tests on the oldest packages that setup.py allows, in an environment of their own
	PYTEST_ADDOPTS="$$PYTEST_ADDOPTS -W ignore::DeprecationWarning" \
	    $(MAKE) test VENV=$(VENV)-oldest INSTALL='$$(OLDEST)'

networks: $(INSTALLED)test ## Install torch and a sentence encoder (about 1 GB): tests of features run, and notebook 03
	$(PIP) install "$(TORCH)"
	$(MAKE) $(INSTALLED)networks

lint: $(INSTALLED)dev ## Check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(INSTALLED)dev ## Check types
	$(PY) -m mypy

notebooks: $(INSTALLED)test ## Execute the notebooks
	$(PY) -m pytest --nbmake notebooks $(if $(SHALLOWDA_DATA),,--ignore notebooks/04_paper_tables.ipynb) \
	    $(if $(wildcard $(INSTALLED)networks),,--ignore notebooks/03_deep_features.ipynb) $(ARGS)

tables: $(INSTALLED)test ## Write the tables of methods into the README and the guide, from the catalogue
	$(PY) docs/method_tables.py

docs: $(INSTALLED)docs ## Build the documentation into build/site
	$(PY) -m sphinx -W --keep-going -n -E -b html docs build/site

bench: $(INSTALLED)bench ## Measure against peers, dense solutions and floors (half an hour), and write the report
	$(PY) benchmarks/run.py $(ARGS)
	$(PY) benchmarks/report.py

ifneq ($(filter gpu-check,$(MAKECMDGOALS)),)
ifeq ($(filter 12 13,$(CUDA)),)
$(error CUDA=$(CUDA) is no release that CuPy is built for here: make gpu-check CUDA=12, or CUDA=13)
endif
endif

gpu-check: $(INSTALLED)test,cuda$(CUDA) ## Check tests and estimators on a CUDA device, and measure it (seven minutes)
	$(PY) benchmarks/gpu_check.py $(ARGS)

clean: ## Remove the environments and everything that was built
	rm -rf "$(VENV)" "$(VENV)-oldest" build dist shallowda.egg-info demo-output htmlcov .coverage .coverage.*
	rm -rf docs/generated .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find shallowda kernels tests -name __pycache__ -prune -exec rm -rf {} +

# PYTHONWARNINGS hides setuptools' note on strict mode.
$(INSTALLED)%: setup.py shallowda/_version.py $(FILES) $(PY)
	@echo "Installing shallowda[$*] into $(VENV) ..."
	@PYTHONWARNINGS=ignore $(INSTALL) --config-settings editable_mode=strict --editable ".[$*]"
	@touch $(VENV)/.complete $@

$(FILES): $(PY)
	@rm -f $(VENV)/.files-*
	@touch $@

$(PY):
	@command -v "$(PYTHON)" > /dev/null || { \
	    echo "shallowda needs Python 3.11 or newer and found no '$(PYTHON)'. Name one: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "shallowda needs Python 3.11+, $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Making the environment $(VENV) (once; packages are downloaded) ..."
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) install --upgrade pip "setuptools>=77"

# No .complete: the first installation was interrupted, so the environment is made anew.
ifeq ($(wildcard $(VENV)/.complete),)
.PHONY: $(PY)
endif
