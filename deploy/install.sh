#!/usr/bin/env bash
# Make or refresh the virtual environment that the other scripts use, and print its folder.
#   bash deploy/install.sh EXTRAS        EXTRAS as in pyproject.toml, for example cpu,rtx
# FAIR_PRUNER_VENV says where (default: .venv in the checkout); PYTHON says which Python makes it (default: python3).
set -euo pipefail
extras=${1:?usage: bash deploy/install.sh EXTRAS, for example cpu,rtx}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${FAIR_PRUNER_VENV:-$checkout/.venv}
constraints=$checkout/deploy/constraints.txt

stamp=$venv/.installed-${extras//,/-}
wanted=$(cat "$checkout/pyproject.toml" "$constraints" <(echo "$checkout") | sha256sum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "Python 3.11 or newer is needed; set PYTHON to one" >&2
        exit 2
    }
    echo "installing into $venv (torch alone is some gigabytes; this takes minutes the first time)" >&2
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --constraint "$constraints" torch torchvision >&2
    "$venv/bin/pip" install --quiet --constraint "$constraints" --editable "$checkout[$extras]" >&2
    echo "$wanted" >"$stamp"
fi
echo "$venv"
