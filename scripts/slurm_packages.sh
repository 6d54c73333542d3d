#!/usr/bin/env bash
# Install the Slurm of the distribution for tests/slurm: 11 MB to download. Needs root and apt.
# Where that cannot be, it says so and the tests skip themselves (with CI=1 they fail instead).
set -uo pipefail

PACKAGES=(munge slurmctld slurmd slurm-client slurmdbd mariadb-server-core)
PROGRAMS=(munged slurmctld slurmd sbatch slurmdbd mariadbd)
PATH=$PATH:/usr/sbin:/sbin

there() { [ "$(command -v "${PROGRAMS[@]}" | wc -l)" = ${#PROGRAMS[@]} ]; }
say() { echo "slurm packages: $*" >&2; }

there && exit 0
[ "$(id -u)" = 0 ] || { say "not root: the tests on a real Slurm are skipped"; exit 0; }
command -v apt-get >/dev/null ||
    { say "no apt-get: the tests on a real Slurm are skipped"; exit 0; }
say "installing ${PACKAGES[*]}"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if { apt-get -qq update &&
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${PACKAGES[@]}"; } \
    </dev/null >"$log" 2>&1; then
    rm -f "$log"
else
    tail -n 5 "$log" >&2
    say "apt-get failed ($log): the tests on a real Slurm are skipped"
fi
exit 0
