#!/usr/bin/env bash
# Say whether a finished run may be shipped; ends with 0 if so, with 1 if not. Leaves gate.xml (JUnit), and the summary on the
# page of a GitHub job, elsewhere in gate.md.
#   bash deploy/ci/gate.sh RUN [options of fair-pruner gate]
set -euo pipefail
run=${1:?usage: bash deploy/ci/gate.sh RUN, for example runs/digits}
venv=$(bash "$(dirname "${BASH_SOURCE[0]}")/install.sh")
exec "$venv/bin/fair-pruner" gate "$run" --junit gate.xml --summary "${GITHUB_STEP_SUMMARY:-gate.md}" "${@:2}"
