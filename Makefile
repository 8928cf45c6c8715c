# Two commands do everything on a fresh Linux machine with Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
NIMBLE ?= .venv-nimble
BIN    := $(VENV)/bin
OUT    ?= out/demo
PIP    := -m pip install -q --disable-pip-version-check --no-build-isolation
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-core test-nimble test-slow walk lint form notebooks readme docs train clean

# LOCKED=1: on Linux with x86-64 the wheels of all packages but torch are checked against constraints.lock.
demo: $(VENV)/.core
	rm -rf $(OUT)
	$(BIN)/bige generate --seed 0 -n 20 --out $(OUT)
	@echo "open $(CURDIR)/$(OUT)/report.html"

test: $(VENV)/.dev
	$(BIN)/pytest -q -n 2 --dist loadfile
	$(MAKE) test-nimble

# What needs no extra, in an environment that has none: CI runs it on a second Python.
test-core: $(VENV)/.core
	$(BIN)/python $(PIP) -c constraints.txt pytest pytest-xdist hypothesis pandas
	$(BIN)/pytest -q -n 2 --dist loadfile --core

# nimblephysics needs numpy 1 and a Python before 3.13, hence an environment of its own; OpenSim answers from the other.
test-nimble: $(VENV)/.dev
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; \
	then $(MAKE) $(NIMBLE)/.nimble && BIGE_OPENSIM_PYTHON=$(CURDIR)/$(BIN)/python $(NIMBLE)/bin/pytest -q -m nimble; \
	else echo "There is no nimblephysics for this Python: the tests that compare with it are left out."; fi

# With DeepSpeed, so that training is tried on two processes too (it compiles a part of itself at its first run: g++).
test-slow: $(VENV)/.dev $(VENV)/.deepspeed
	$(BIN)/pytest -q -n 2 --dist loadfile --slow
	$(MAKE) test-nimble

# The commands of README and the pages as they are printed, in a copy of this tree with an empty environment.
walk:
	$(PYTHON) data_scripts/walk.py

# Width, one statement a line, unknown and unused names.
lint: $(VENV)/.dev
	$(BIN)/ruff check

# How long cells and lines are, beside the numbers of other books; nothing fails by them.
form: $(VENV)/.dev
	$(BIN)/python data_scripts/form.py

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
train: $(VENV)/.dev $(NIMBLE)/.nimble
	NIMBLE=$(NIMBLE) PATH=$(CURDIR)/$(BIN):$$PATH BIGE_SHARED_DATA=$${BIGE_SHARED_DATA:-../shared/data} bash data_scripts/build_assets.sh

%/bin/python:
	$(PYTHON) -m venv $*

$(VENV)/.core: settings.ini setup.py constraints.txt | $(VENV)/bin/python
	$(BIN)/python $(PIP) -c constraints.txt setuptools wheel
	$(if $(LOCKED),$(BIN)/python $(PIP) --require-hashes --no-deps -r constraints.lock)
	$(BIN)/python $(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.dev $(VENV)/.docs $(VENV)/.deepspeed: $(VENV)/.%: $(VENV)/.core
	$(BIN)/python $(PIP) -c constraints.txt -e ".[$*]"
	touch $@

# The same versions but for numpy; with nbdev, for the chapters that compare with nimblephysics.
$(NIMBLE)/.nimble: settings.ini setup.py constraints.txt | $(NIMBLE)/bin/python
	sed 's/^numpy==.*/numpy==1.26.4/' constraints.txt > $(NIMBLE)/constraints.txt
	$(NIMBLE)/bin/python $(PIP) -c $(NIMBLE)/constraints.txt setuptools wheel
	$(NIMBLE)/bin/python $(PIP) -c $(NIMBLE)/constraints.txt -e ".[nimble,test]"
	touch $@

clean:
	rm -rf $(VENV) $(NIMBLE) out build *.egg-info
