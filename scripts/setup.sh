#!/usr/bin/env bash
# Make .venv in the checkout. Called by make with PYTHON (may be empty) and TORCH (a version).
#
# Order matters: torch comes first, then everything else pinned and without resolution, because a
# resolver that meets lxt exchanges torch (see the comment on the extra `lrp` in pyproject.toml).
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
# Stands while a .venv made here is incomplete: a killed pip can leave packages that look whole.
UNFINISHED=$VENV/.unfinished
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { echo "set-up: $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.11}; do
        if fits "$candidate"; then echo "$candidate"; return; fi
    done
    fail "Python 3.11 or 3.12 is needed, ${PYTHON:-python3} is not; run: make PYTHON=/path/to/python3.12"
}

# A torch that is already there is kept if it works and pyproject.toml accepts it: on a GPU machine
# it may be a build that no index offers. A fresh venv has no `packaging` but pip's own copy.
torch_fits() {
    "$VENV/bin/python" - 2>/dev/null <<'PY'
import sys, tomllib
import torch
from pip._vendor.packaging.requirements import Requirement

with open("pyproject.toml", "rb") as file:
    requirements = map(Requirement, tomllib.load(file)["project"]["dependencies"])
wanted = next(r for r in requirements if r.name == "torch")
sys.exit(not wanted.specifier.contains(torch.__version__, prereleases=True))
PY
}

if [ -e "$UNFINISHED" ]; then
    say "an earlier set-up was interrupted; starting over"
    rm -rf "$VENV"
fi
if [ ! -e "$VENV" ]; then
    python=$(find_python)
    say "making $VENV with $("$python" --version) (a minute or two, 2 GB)"
    mkdir "$VENV"
    touch "$UNFINISHED"
    "$python" -m venv "$VENV"
elif ! fits "$VENV/bin/python"; then
    fail "$VENV holds no working Python 3.11 or 3.12; remove it (rm -rf $VENV) and run make again"
fi

if torch_fits; then
    say "1/3 keeping the torch in $VENV"
else
    say "1/3 installing torch $TORCH"
    "$VENV/bin/python" -m pip install -q "torch==$TORCH"
fi
say "2/3 installing the packages of requirements.lock"
"$VENV/bin/python" -m pip install -q --no-deps -r requirements.lock
say "3/3 installing sparc from this checkout"
"$VENV/bin/python" -m pip install -q --no-deps -e .
rm -f "$UNFINISHED"
touch "$VENV/.ready"
say "done"
