# Two commands do everything on a fresh Linux machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= out/demo
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow notebooks readme docs train clean

demo: $(VENV)/.core
	rm -rf $(OUT)
	$(BIN)/bige generate --seed 0 -n 20 --out $(OUT)
	@echo "open $(CURDIR)/$(OUT)/report.html"

test: $(VENV)/.dev
	$(BIN)/pytest -q -n 2 --dist loadfile

# With DeepSpeed and TensorBoard, so that training is tried on two processes too (DeepSpeed compiles a part of itself at its first run: g++).
test-slow: $(VENV)/.train
	$(BIN)/pytest -q -n 2 --dist loadfile --slow

# Re-export bige/ and clean the notebooks after editing them (pictures are kept).
notebooks: $(VENV)/.dev
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

readme: $(VENV)/.dev
	$(BIN)/python data_scripts/make_readme.py

# The book as a web site that needs no network, in _docs/.
docs: $(VENV)/.docs
	$(BIN)/python data_scripts/make_book.py --out _docs

# Raw motion -> IK -> repetitions -> simulation -> data set -> networks -> bige/assets.
train: $(VENV)/.dev
	PATH=$(CURDIR)/$(BIN):$$PATH BIGE_SHARED_DATA=$${BIGE_SHARED_DATA:-../shared/data} bash data_scripts/build_assets.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: settings.ini setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e .
	touch $@

# OpenSim's wheel asks for numpy 2, nimblephysics needs numpy 1; OpenSim runs with numpy 1.26 as well, hence --no-deps.
$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt opensim
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e ".[docs]"
	touch $@

$(VENV)/.train: $(VENV)/.dev
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e ".[train]"
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
