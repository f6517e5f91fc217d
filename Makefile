# Two commands from a clean clone: `make demo` and `make test`. Another interpreter: make PYTHON=python3.12 demo
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt --editable

# One BLAS thread a test worker: the workers share the cores already.
ONE_THREAD := env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test lint bench faults report

demo: .venv/.installed
	$(BIN)/python papers/vae/run.py

test: .venv/.installed-test
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto

lint: .venv/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# OPENBLAS_CORETYPE may hold BLAS below what the CPU can do; PyTorch is timed at its best, so are we.
bench: .venv/.installed-test
	env -u OPENBLAS_CORETYPE $(BIN)/python -m pytest tests/benchmarks --benchmark-enable --timeout=0

faults: .venv/.installed-test
	$(BIN)/python -m pytest -m faults

report: .venv/.installed
	$(BIN)/python -m shared.report

# A stamp is touched last: an install that broke off is done again, a finished one is not.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
	"error: $(PYTHON) is Python %d.%d, this needs 3.11 to 3.13. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" % v)'
	$(PYTHON) -m venv .venv
	$(INSTALL) .
	@touch $@

.venv/.installed-test: .venv/.installed
	$(INSTALL) '.[test]'
	@touch $@
