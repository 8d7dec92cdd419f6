#!/usr/bin/env bash
# Run the tests with the lowest versions that pyproject.toml declares for the base package and the
# extras api, langchain, llamaindex, mcp and proxy, in an environment of their own that is removed afterwards.
#
#   bash scripts/check_lowest.sh               all tests (those of other extras are skipped)
#   bash scripts/check_lowest.sh tests/test_langchain_*.py
#   bash scripts/check_lowest.sh --train       the extras local and train, and their tests; torch as in check.sh
#
# The last run is recorded in docs/versions.md. Deprecation warnings of old versions are no errors
# here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

train=no
[ "${1:-}" = --train ] && { train=yes; shift; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
python="$folder/bin/python"
if [ "$train" = yes ]; then
  "$python" -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
  "$python" -m pip install --quiet --disable-pip-version-check '.[train]' \
    transformers==5.18.0 trl==1.16.0 peft==0.18.0 datasets==4.7.0 accelerate==1.10.1 \
    'openai<3' hypothesis pytest pytest-asyncio
  [ $# -gt 0 ] || set -- tests/test_{transformers_vlm,transformers_cropper,checkpoint,small_vlm,box_grammar}.py \
    tests/test_{rewards,sft,grpo,grpo_run,grpo_resume}.py
else
  "$python" -m pip install --quiet --disable-pip-version-check uv
  "$folder/bin/uv" pip install --quiet --python "$python" --resolution lowest-direct \
    '.[api,langchain,llamaindex,mcp,proxy]' --group test
fi
date -u +%F
"$python" -m pip list --disable-pip-version-check 2>/dev/null |
  grep -iE '^(pillow|numpy|onnxruntime|openai|anthropic|langchain|langchain-[a-z]+|langgraph|llama-index-[a-z-]+|mcp|starlette|uvicorn|httpx|httpcore|h11|pytest|torch|transformers|trl|peft|datasets|accelerate) '
"$python" -m pytest -q -p no:cacheprovider -o filterwarnings=default "$@"
