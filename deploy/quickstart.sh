#!/usr/bin/env bash
# Set up and run the main job on the digits that come with scikit-learn. Arguments are passed on to `fair-pruner run`.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
extras=cpu
[ "$(uname -sm)" = "Linux x86_64" ] && extras=cpu,rtx # elsewhere there is no TensorRT to build engines without a GPU
venv=$(bash "$checkout/deploy/install.sh" "$extras")
exec "$venv/bin/fair-pruner" run "$checkout/deploy/configs/digits.yaml" --set "output=$checkout/runs" "$@"
