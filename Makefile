# Everything happens in .venv, with the versions of constraints.txt.
PYTHON ?= python3
OUT ?= out/demo
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow lint docs bench weights clean

demo: $(READY)  ## simulated scene from a local catalog; DATA=<SEN12MS-CR folder> for real patches
	$(BIN)/xcloudfree demo --out $(OUT) $(if $(DATA),--data $(DATA))

test: $(READY)  ## all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)  ## exactness of every block of every variant, about an hour on 2 cores
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## the pages are Markdown; check that their examples run
	$(BIN)/python -m pytest -q -p no:cacheprovider --doctest-glob="*.md" docs README.md

bench: $(READY)
	$(BIN)/python -m pytest -q tests/benchmarks -m "" --override-ini testpaths=tests/benchmarks

weights: $(READY)  ## fit and judge the demonstration weights; needs XCLOUDFREE_DATA
	$(BIN)/python examples/demo_weights.py fit
	$(BIN)/python examples/demo_weights.py judge

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group dev
	touch $@

clean:
	rm -rf .venv out build dist
