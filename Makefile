# Two commands: `make demo` and `make test`. PYTHON may be any Python 3.11 to 3.13.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH   = $(shell grep -E '^(torch|torchvision)==' requirements.lock)

.PHONY: demo test lint docs install clean

demo: $(VENV)/installed  ## the main job on built-in phantom films -> runs/demo/report.html
	$(BIN)/xai-bench demo

test: $(VENV)/installed  ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(VENV)/installed  ## style, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed  ## the pages that are made from the registry
	$(BIN)/python docs/make.py

install: $(VENV)/installed  ## only install

# torch and torchvision go first and together, or pip fetches another build of several GB; the rest without
# dependencies, so that only the headless OpenCV comes in (quantus and grad-cam each name another one).
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d; set PYTHON=python3.12, for example." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) runs
