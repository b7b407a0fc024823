# `make demo` and `make test` set up what they need; nothing has to be activated first.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# DVC runs its stages with the `python` on PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-slow test-gpu test-unpinned check audit leaks docs bench format constraints dist clean

demo: $(INSTALLED)  ## run the pipeline on the bundled sample
	dvc repro
	hlclip table
	hlclip report

test: $(INSTALLED)  ## run all tests
	OMP_NUM_THREADS=1 python -m pytest -n auto --dist loadfile

test-slow: $(INSTALLED)  ## kill stages and dvc some sixty times, fill disks; takes about a quarter of an hour
	HLCLIP_KILLS=60 OMP_NUM_THREADS=1 python -m pytest -s tests/e2e/test_kills.py tests/e2e/test_together.py \
	    tests/e2e/test_full_disk.py tests/e2e/test_no_permission.py tests/maintenance/test_references.py

test-gpu: $(INSTALLED)  ## on a machine with a GPU: what needs CUDA, then figures for docs/performance.md
	mkdir -p bench/results
	python -m pytest -m gpu -rs tests/model tests/training tests/highlights; \
	    failed=$$?; python -m bench.gpu --out bench/results/gpu.md && exit $$failed

test-unpinned: unpinned-newest unpinned-lowest  ## both ends of the ranges in pyproject.toml; half an hour

# Without constraints.txt, as users install it: the newest release of each dependency, or the lowest.
unpinned-%:
	rm -rf $(VENV)-$*
	$(PYTHON) -m venv $(VENV)-$*
	sed -nE 's/^    "([A-Za-z0-9_.-]+)(\[[a-z]+\])?>=([0-9.]+).*/\1==\3/p' pyproject.toml > $(VENV)-$*/lowest.txt
	$(VENV)-$*/bin/python -m pip install -e '.[dev]' $(if $(filter lowest,$*),-c $(VENV)-$*/lowest.txt)
	export PATH="$(abspath $(VENV)-$*/bin):$$PATH" OMP_NUM_THREADS=1 && \
	    python -m pytest -n auto --dist loadfile -m "not slow" && \
	    python -m pytest tests/e2e/test_docs.py -k "own-video" && \
	    python -m pytest tests/e2e/test_reruns.py -k "makes_everything or does_nothing"
	rm -rf $(VENV)-$*

bench: $(INSTALLED)  ## measure every fast path against the naive way; takes about half an hour
	python -m bench --folder .hlclip/bench

check: $(INSTALLED) leaks audit docs  ## style, types, architecture, secrets, known vulnerabilities, docs
	ruff check .
	ruff format --check .
	pyright
	lint-imports

# Hexadecimal digests of public files stand in the code; every other form of a key is looked for.
leaks: $(INSTALLED)  ## nothing that looks like a key or password is tracked
	git ls-files -z | xargs -0 detect-secrets-hook --disable-plugin HexHighEntropyString

audit: $(INSTALLED)  ## known vulnerabilities of the exact versions, where their database can be reached
	@if python -c 'import requests; requests.head("https://api.osv.dev", timeout=5)' 2>/dev/null; \
	    then pip-audit -s osv -r constraints.txt --no-deps --disable-pip --progress-spinner off; \
	    else echo "SKIPPED: known vulnerabilities were NOT looked up, api.osv.dev is out of reach" >&2; \
	    fi

# It needs no network, and neither does the site. A link or anchor that leads nowhere ends it.
docs: $(INSTALLED)  ## the site of docs/, in the folder site
	zensical build --clean --strict

format: $(INSTALLED)
	ruff check --fix .
	ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "hlclip needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

constraints:  ## renew the exact versions from the ranges in pyproject.toml
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install -e '.[dev]'
	{ echo "# Exact versions that 'make' and CI use. Renew: make constraints"; \
	  $(VENV)-constraints/bin/python -m pip freeze --exclude-editable; } > constraints.txt
	rm -rf $(VENV)-constraints

dist: $(INSTALLED)  ## sdist and wheel, checked, in dist/
	rm -rf dist
	python -m build --no-isolation
	twine check --strict dist/*

clean:  ## remove the venv and everything the pipeline made
	rm -rf $(VENV) .hlclip outputs metrics.json sample/data dist .dvc/cache .dvc/tmp
