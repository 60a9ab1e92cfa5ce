#!/usr/bin/env bash
# Make or refresh the environment of the CI job, and print its folder.
#   bash deploy/ci/install.sh
# FAIR_PRUNER_EXTRAS says what to install (default: cpu; with engines cpu,rtx, on a GPU gpu), FAIR_PRUNER_VENV where.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/../install.sh" "${FAIR_PRUNER_EXTRAS:-cpu}"
