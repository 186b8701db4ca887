"""Runs of the real pipeline with shrunken settings, from a copy of the repository that tests may edit."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
# Small enough to take seconds a job, large enough that every stage does its real work.
SHRUNKEN = (
    "formulas=my list.csv",
    "symmetry={n_labels: 8, max_space_groups: 2, max_z: 1}",
    "reconstruct={population: 20, max_evaluations: 200, candidates_per_task: 3}",
    "pool={size: 2}",
    "relax={max_steps: 3}",
)
LIST = "formula,z\nNaCl,1\nMgO,1\nnot a formula,\n"
# Rules that only freeze the settings of a rerun, or end it.
BOOKKEEPING = {"all", "settings"}
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Run:
    """A copy of the repository, and a folder with spaces in its name in which the pipeline runs."""

    repository: Path
    folder: Path
    cores: int = 2
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *options: str, config: tuple[str, ...] = ()) -> list[str]:
        """The command line of a user; `config` follows the shrunken settings."""
        places = ["--snakefile", str(self.repository / "Snakefile"), "--directory", str(self.folder)]
        return [*SNAKEMAKE, *places, "--cores", str(self.cores), *options, "--config", *SHRUNKEN, *config]

    def start(self, *options: str, config: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start Snakemake; its output is in the pipe `stdout`."""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MAPCSP_RESOURCES")}
        return subprocess.Popen(
            self.command(*options, config=config),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, **self.environment},
        )

    def snakemake(self, *options: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        """Run Snakemake to its end; all that it says is in `stdout`."""
        process = self.start(*options, config=config)
        said, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, "")

    def jobs(self, *options: str, config: tuple[str, ...] = ()) -> Counter:
        """What would run: jobs by rule, bookkeeping left out."""
        done = self.snakemake("--dry-run", *options, config=config)
        assert done.returncode == 0, done.stdout
        counts = re.findall(r"(?m)^(\w+) +(\d+)$", done.stdout)
        return Counter({rule: int(n) for rule, n in counts if rule not in {*BOOKKEEPING, "total"}})

    def result(self, name: str) -> Path:
        """A file of the results."""
        return self.folder / "results" / name

    def table(self) -> bytes:
        """The final answer."""
        return self.result("ranking/ranking.csv").read_bytes()


def copy_repository(target: Path) -> Path:
    """Copy what a run needs of the repository, and the faults that tests may switch on."""
    target.mkdir(parents=True)
    for name in ("Snakefile", "config", "envs", "resources", "workflow", "profiles"):
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "training")
            shutil.copytree(
                source, target / name, symlinks=True, ignore=ignored if name == "resources" else None
            )
        else:
            shutil.copy(source, target / name)
    shutil.copy(REPOSITORY / "tests/faults/sitecustomize.py", target / "workflow")
    return target


def copy_run(run: Run, folder: Path, without: tuple[str, ...] = ()) -> Run:
    """Copy a finished run, times and Snakemake's records included, and delete the results of some stages."""
    shutil.copytree(run.folder, folder, symlinks=True)
    copy = Run(run.repository, folder)
    for stage in without:
        shutil.rmtree(copy.result(stage))
    return copy


def with_fault(run: Run, fault: str, folder: Path) -> Run:
    """The same run, whose commands break as `faults/sitecustomize.py` says; `folder` names those that did."""
    folder.mkdir()
    return Run(
        run.repository,
        run.folder,
        run.cores,
        {"MAPCSP_FAULT": fault, "MAPCSP_FAULT_FOLDER": str(folder)},
    )


def wait_for_fault(folder: Path, process: subprocess.Popen) -> int:
    """Wait until a command has stopped itself; returns its process id."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for marker in folder.iterdir():
            pid = marker.read_text()
            if pid and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return int(pid)
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise TimeoutError(f"no command stopped within {PATIENCE_S} s")


@contextmanager
def edited(path: Path, change):
    """A file changed for the time of a test."""
    before = path.read_bytes()
    path.write_bytes(change(before))
    try:
        yield
    finally:
        path.write_bytes(before)
