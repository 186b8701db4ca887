"""A private SLURM of one node: loopback only, its own folders, no database, stopped by its own process ids.

Facts about SLURM 22.05 and Snakemake's plugin 2.8.0 behind the choices are in the comments.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "sinfo", "scancel")
READY_TIMEOUT_S = 60.0
CONFIGURATION = """\
ClusterName=mapcsp
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobCompType=jobcomp/filetxt
JobCompLoc={root}/log/completed.txt
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Without it, one job takes the memory of the whole node.
DefMemPerCPU=500
SlurmdParameters=config_overrides
ReturnToService=2
# The plugin asks squeue, which must remember finished jobs longer than the plugin's pauses.
MinJobAge=300
KillWait=5
InactiveLimit=0
PlugStackConfig=/dev/null
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Programs of SLURM that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_search_path()) is None]


class Cluster:
    """A running cluster; use it as a context manager. `environment` is what its clients need."""

    def __init__(self, cpus: int = 4, memory_mb: int = 16000) -> None:
        # The path of munge's socket must stay below 108 characters.
        self.root = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))
        self._configuration = self.root / "etc" / "slurm.conf"
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self._configuration),
            "PATH": f"{self.root / 'bin'}{os.pathsep}{_search_path()}",
        }
        self._processes: list[subprocess.Popen] = []
        self._cpus, self._memory_mb = cpus, memory_mb

    def __enter__(self) -> Cluster:
        try:
            self._write_files()
            self._start(
                "munged",
                "--foreground",
                f"--key-file={self.root}/munge/munge.key",
                f"--socket={self.root}/run/munge.sock",
                f"--pid-file={self.root}/run/munged.pid",
                f"--log-file={self.root}/log/munged.log",
                f"--seed-file={self.root}/munge/munge.seed",
            )
            self._wait_for(lambda: (self.root / "run/munge.sock").exists(), "munged")
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D")
            self._wait_for(self._runs_a_job, "SLURM")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes:
            self.client("scancel", f"--user={os.getuid()}")
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self.root, ignore_errors=True)

    def client(self, *command: str) -> subprocess.CompletedProcess:
        """Run one of SLURM's commands against this cluster."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )

    def completed_jobs(self) -> list[dict[str, str]]:
        """SLURM's own record of every job that ended: `key=value` pairs such as JobId, Name and JobState."""
        record = self.root / "log" / "completed.txt"
        lines = record.read_text().splitlines() if record.exists() else []
        return [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in lines]

    def _write_files(self) -> None:
        for name in ("etc", "munge", "run", "log", "state", "spool", "bin"):
            (self.root / name).mkdir()
        self.root.chmod(0o755)
        (self.root / "munge").chmod(0o700)
        key = self.root / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        text = CONFIGURATION.format(
            root=self.root,
            host=socket.gethostname().split(".")[0],
            controller_port=_free_port(),
            node_port=_free_port(),
            cpus=self._cpus,
            memory_mb=self._memory_mb,
        )
        self._configuration.write_text(text)
        # The plugin's job steps drop SLURM_CONF before they call srun; this srun puts it back.
        wrapper = self.root / "bin" / "srun"
        srun = shutil.which("srun", path=_search_path())
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self._configuration} exec {srun} "$@"\n')
        wrapper.chmod(0o755)

    def _start(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=_search_path())
        assert path is not None
        log = open(self.root / "log" / f"{program}.out", "w")  # noqa: SIM115
        self._processes.append(
            subprocess.Popen([path, *arguments], env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        )

    def _runs_a_job(self) -> bool:
        # An idle node does not yet take jobs: only a job that ran tells.
        if "idle" not in self.client("sinfo", "--noheader", "--format=%T").stdout:
            return False
        try:
            return self.client("srun", "--quiet", "--ntasks=1", "--immediate=10", "true").returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _wait_for(self, ready, what: str) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while not ready():
            dead = [p.args for p in self._processes if p.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(
                    f"{f}:\n{f.read_text()[-1500:]}" for f in sorted((self.root / "log").iterdir())
                )
                raise RuntimeError(f"{what} did not come up ({dead or 'no answer'})\n{logs}")
            time.sleep(0.2)


def _search_path() -> str:
    return os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    # Whether this machine can run it at all: .ci/run asks before it runs the tests.
    with Cluster():
        print("a SLURM of one node came up and ran a job")
