#!/usr/bin/env bash
# Set up and check everything: style, types, the rooms' contracts, tests. Arguments are passed on to pytest; without any, the
# tests of flows run beside all others, which takes two cores little more than half the time.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(bash "$checkout/deploy/install.sh" cpu,rtx,openvino,s3,server,dask,dev,bench)
cd "$checkout"
export PATH="$venv/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports
bandit --quiet --configfile pyproject.toml --recursive fair_pruner pipeline flows
if [ $# -gt 0 ]; then
    exec pytest "$@"
fi
export OMP_NUM_THREADS=1
said=$(mktemp)
pytest tests/flows >"$said" 2>&1 &
flows=$!
trap 'kill "$flows" 2>/dev/null || true; rm -f "$said"' EXIT
code=0
pytest --ignore tests/flows || code=$?
wait "$flows" || code=$?
cat "$said"
exit "$code"
