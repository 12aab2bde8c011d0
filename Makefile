# Two commands do all the set-up: `make run` and `make test`. Both can be repeated.
PYTHON ?= python3
VENV   ?= .venv
# The torch that the tests ran with; TORCH=torch lets pip choose, for example a CUDA build.
TORCH  ?= torch==2.13.0
NSIDE  ?= 32
# Where gpu-check keeps what is done; it can be stopped at any time, and repeating it goes on.
GPU_SCRATCH ?= gpu-check

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test check format gpu-check clean

run: $(VENV)/.installed
	$(BIN)/engine run --healpix-nside $(NSIDE)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

gpu-check: $(VENV)/.installed-test
	$(BIN)/python benchmarks/gpu.py --scratch $(GPU_SCRATCH)

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(GPU_SCRATCH) photoz-run* mock-survey* build *.egg-info .mypy_cache .ruff_cache .pytest_cache
