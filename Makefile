# Everything happens in .venv, with the versions of constraints.txt.
PYTHON ?= python3
OUT ?= out/demo
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow test-lowest test-without-torch lint docs bench weights results clean

demo: $(READY)  ## the whole path on a simulated series; for your own: xcloudfree judge
	$(BIN)/xcloudfree demo --out $(OUT)

test: $(READY)  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

test-slow: $(READY)  ## exactness of every block of every variant, about an hour on 2 cores
	$(BIN)/python -m pytest -m slow

FOLDERS ?= tests
PICKED = $(if $(PARTS),-k "$(PARTS)")
TORCH = torch==$$(sed -n 's/^torch==//p' constraints.txt)

test-lowest:  ## with the lowest versions that pyproject.toml allows (of torch: the one of constraints.txt); FOLDERS="tests/io"
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints.txt uv $(TORCH)
	.venv-lowest/bin/uv pip compile --quiet --resolution lowest-direct --override tests/without-torch.txt \
	  --constraint tests/lowest.txt --extra demo --extra train --group test \
	  --output-file .venv-lowest/lowest.txt pyproject.toml
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --no-deps \
	  --requirement .venv-lowest/lowest.txt --editable .
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -m "not slow" -p no:cacheprovider -n $(WORKERS) \
	  --dist worksteal $(FOLDERS)

test-without-torch:  ## PYTHON=python3.13: all that needs no torch, of which a new Python may have no build
	$(PYTHON) -m venv --clear .venv-without-torch
	.venv-without-torch/bin/python -m pip install --quiet --constraint constraints.txt uv
	.venv-without-torch/bin/uv pip install --quiet --python .venv-without-torch/bin/python \
	  --override tests/without-torch.txt --constraint constraints.txt --editable ".[demo]" --group test
	OMP_NUM_THREADS=1 .venv-without-torch/bin/python -m pytest -m "not slow" -p no:cacheprovider -n $(WORKERS) --dist worksteal \
	  --ignore xcloudfree/methods/kernel_fusion $(FOLDERS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_words.py

docs: $(READY) .venv/.docs  ## the site in out/docs; every example and notebook is run, no link leads nowhere
	$(BIN)/python -m pytest -q -p no:cacheprovider --doctest-glob="*.md" README.md docs/*.md docs/guides/*.md
	$(BIN)/sphinx-build -W --keep-going -n -q -b html -d out/doctrees docs out/docs
	$(BIN)/python docs/links.py out/docs

.venv/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	touch $@

bench: $(READY)  ## figures of docs/benchmarks.md, half an hour; PARTS="graph or clouds", BENCH=quick
	$(BIN)/python -m pytest -q tests/benchmarks -m "" -p no:cacheprovider -o tmp_path_retention_policy=none \
	  $(PICKED)

weights: $(READY)  ## fit and judge the weights that are shipped, and networks for one date; needs XCLOUDFREE_DATA
	$(BIN)/python examples/demo_weights.py fit
	$(BIN)/python examples/demo_weights.py judge
	$(BIN)/python examples/series_network.py prepare
	$(BIN)/python examples/series_network.py fit
	$(BIN)/python examples/series_network.py judge
	$(BIN)/python examples/one_date_networks.py prepare
	$(BIN)/python examples/one_date_networks.py judge --page docs/results.md
	$(BIN)/python examples/one_date_networks.py prepare --level BOA
	$(BIN)/python examples/one_date_networks.py judge --level BOA --page docs/results.md
	$(BIN)/python examples/haze_mask.py fit
	$(BIN)/python examples/haze_mask.py judge --page docs/guides/masks.md
	$(BIN)/python examples/near_dates.py --page docs/results.md

results: $(READY)  ## every table of docs/results.md and the README; needs XCLOUDFREE_DATA; resumes in out/results
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group examples
	$(BIN)/python examples/results.py
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/thumbnails.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group dev
	touch $@

clean:
	rm -rf .venv .venv-* out build dist docs/examples docs/generated
