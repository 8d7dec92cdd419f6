#!/usr/bin/env bash
# Run the tests with the lowest versions that pyproject.toml declares for the base package and the
# extras api, langchain and llamaindex, in an environment of their own that is removed afterwards.
#
#   bash scripts/check_lowest.sh               all tests (those of other extras are skipped)
#   bash scripts/check_lowest.sh tests/test_langchain_*.py
#
# The last run is recorded in docs/versions.md. Deprecation warnings of old versions are no errors
# here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
python="$folder/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check uv
"$folder/bin/uv" pip install --quiet --python "$python" --resolution lowest-direct \
  '.[api,langchain,llamaindex]' --group test
date -u +%F
"$folder/bin/uv" pip list --python "$python" 2>/dev/null |
  grep -E '^(pillow|numpy|onnxruntime|openai|anthropic|langchain|langchain-[a-z]+|langgraph|llama-index-[a-z-]+|pytest) '
"$python" -m pytest -q -p no:cacheprovider -o filterwarnings=default "$@"
