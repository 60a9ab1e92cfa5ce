#!/usr/bin/env bash
# Run the sweep of a configuration; what it leaves lies in runs/NAME.
#   bash deploy/ci/sweep.sh CONFIG [options of fair-pruner run]
# FAIR_PRUNER_SETTINGS changes values of the file, separated by spaces: "finetune.epochs=5 benchmark.rounds=40".
set -euo pipefail
config=${1:?usage: bash deploy/ci/sweep.sh CONFIG, for example deploy/configs/digits.yaml}
venv=$(bash "$(dirname "${BASH_SOURCE[0]}")/install.sh")
read -ra settings <<<"${FAIR_PRUNER_SETTINGS:-}"
exec "$venv/bin/fair-pruner" run "$config" "${settings[@]/#/--set=}" "${@:2}"
