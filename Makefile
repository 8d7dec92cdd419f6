.PHONY: help install check lint format type test notebook clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: ## System programs, then the package with everything the checks need
	bash scripts/check.sh --install-only

check: ## Everything that must pass before a change lands, without installing anything
	bash scripts/check.sh --no-install

lint: ## Style and the import contracts
	ruff check .
	ruff format --check .
	lint-imports

format: ## Put the code in the house's format
	ruff check --fix .
	ruff format .

type: ## Types
	mypy

test: ## Tests, without coverage
	pytest

notebook: ## Run examples/quickstart.ipynb and write it again with its outputs
	python scripts/run_notebook.py

clean: ## Remove builds and caches
	rm -rf build dist htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
