#!/usr/bin/env bash
# Set up and check everything: style, types, the rooms' contracts, tests. Arguments are passed on to pytest.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(bash "$checkout/deploy/install.sh" cpu,rtx,openvino,dev,bench)
cd "$checkout"
export PATH="$venv/bin:$PATH"
ruff check .
ruff format --check .
mypy
lint-imports
pytest "$@"
