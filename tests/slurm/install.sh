#!/bin/sh
# Makes sure that SLURM's programs and Snakemake's plugin for it are there. usage: install.sh PYTHON
set -eu
python=$1

missing=""
for program in slurmctld slurmd munged srun sbatch; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null || missing="$missing $program"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "make slurm-test: these programs are missing:$missing" >&2
        echo "Run it as root on a machine with apt-get, or install SLURM and munge first." >&2
        exit 1
    fi
    # Debian starts a service when it installs one; the test starts its own, with its own configuration.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    # A network that hangs ends within minutes.
    patience="-o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=60"
    if ! { timeout 180 apt-get $patience update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get $patience \
        install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge; }; then
        echo "make slurm-test: apt-get could not install SLURM (see above); check its network" >&2
        exit 1
    fi
fi
"$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    snakemake-executor-plugin-slurm==2.8.0 snakemake-executor-plugin-slurm-jobstep==0.6.1
