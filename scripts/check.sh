#!/usr/bin/env bash
# Install everything and run every check of the project.
#
#   bash scripts/check.sh                 install, then check (the README's second command)
#   bash scripts/check.sh --no-install    check with what is installed already
#   bash scripts/check.sh --install-only  install and stop
#
# Without an active virtual environment it makes and uses .venv in the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install=yes
check=yes
case "${1:-}" in
  "") ;;
  --no-install) install=no ;;
  --install-only) check=no ;;
  *) echo "check.sh: expected --no-install, --install-only or nothing, got '$1'" >&2; exit 2 ;;
esac

step() { printf '\n== %s\n' "$*"; }

if [ -z "${VIRTUAL_ENV:-}" ] && { [ "$install" = yes ] || [ -d .venv ]; }; then
  [ -d .venv ] || python3 -m venv .venv
  # shellcheck disable=SC1091
  . .venv/bin/activate
fi

if [ "$install" = yes ]; then
  step "system programs"
  bash scripts/install-system.sh
  step "Python packages"
  python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' # knows --group
  # torch first and alone, so that the extras find it and pull no second build of it
  python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
  python -m pip install --quiet --disable-pip-version-check --editable '.[api,finetune,train,ocr,pdf,langchain,llamaindex,mcp,proxy,ray]' --group dev
fi
[ "$check" = yes ] || exit 0

step "ruff";         ruff check .; ruff format --check .
step "mypy";         mypy
step "lint-imports"; lint-imports
step "pytest";       python -m pytest --cov --cov-report=term
