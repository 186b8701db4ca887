"""A reconstruction job as a process of its own: killed, repeated, on other cores, and its memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from known_tasks import known_task, true_map
from mapcsp.records import Label, LabelPrediction, ReconstructionTask, TaskResult
from mapcsp.settings import ReconstructSettings
from mapcsp.store import read_records, write_json, write_records
from mapcsp.symmetry.geometry import label_geometry

MAX_MEMORY_GB = 1.0
# Runs a job, kills itself without any clean-up after as many finished searches as told, and prints its peak memory.
JOB = """
import os, signal, sys
from pathlib import Path
from mapcsp.finished import FinishedResults
from mapcsp.ga.reconstruct import run_reconstruct

tasks, settings, output, finished, searches_before_kill = sys.argv[1:]
add, added = FinishedResults.add, []

def add_and_die(*arguments):
    add(*arguments)
    added.append(arguments)
    if len(added) == int(searches_before_kill):
        os.kill(os.getpid(), signal.SIGKILL)

FinishedResults.add = add_and_die
run_reconstruct([Path(tasks)], Path(settings), Path(output), Path(finished))
# The kernel's own mark: getrusage would also count the process that started this one.
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0 kB"]
print(len(added), next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: its exit status, the searches it ran itself, and its peak memory."""

    status: int
    searches: int
    memory_gb: float


def run_job(
    folder: Path, finished: Path, output: Path, threads: int, searches_before_kill: int = 0
) -> JobEnd:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    arguments = [folder / "tasks.jsonl", folder / "settings.json", output, finished, searches_before_kill]
    done = subprocess.run(
        [sys.executable, "-c", JOB, *map(str, arguments)],
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    searches, memory_kb = done.stdout.split() if done.returncode == 0 else ("0", "0")
    return JobEnd(done.returncode, int(searches), int(memory_kb) / 1e6)


def large_task() -> ReconstructionTask:
    """24 atoms without symmetry but inversion: 36 free coordinates and a free cell, the most that a search ever holds."""
    label = Label.from_key("2:" + ",".join(["O-i"] * 8 + ["Ti-i"] * 4))
    free = np.random.default_rng(4).random(label_geometry(label).n_free)
    cell = np.array([6.0, 6.5, 7.0, 85.0, 95.0, 100.0])
    crystal = label_geometry(label).decode(cell, free)
    prediction = LabelPrediction(label, 8, -1.0, "enumerated", cell, 0.12, 0.35)
    return ReconstructionTask(
        "large", "large", "TiO2", 2, 1.0, 5, (prediction,), (true_map(label, crystal, 8),)
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    infeasible = replace(
        known_task("rutile TiO2"), id="none", status="infeasible", reason="no label", labels=(), maps=()
    )
    tasks = [known_task("baddeleyite ZrO2", spread=0.05), infeasible, large_task(), known_task("pyrite FeS2")]
    write_records(folder / "tasks.jsonl", ReconstructionTask, tasks)
    settings = ReconstructSettings(max_evaluations=20_000, candidates_per_label=5)
    write_json(folder / "settings.json", settings.model_dump(mode="json"))
    return folder


@pytest.fixture(scope="module")
def straight(job: Path) -> JobEnd:
    return run_job(job, job / "finished-1", job / "one.jsonl", threads=1)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_job_needs_at_most_one_gigabyte(straight: JobEnd) -> None:
    assert (straight.status, straight.searches) == (0, 4)
    assert 0.05 < straight.memory_gb <= MAX_MEMORY_GB


def test_a_space_group_without_labels_is_a_record_among_the_others(job: Path, straight: JobEnd) -> None:
    results = read_records(job / "one.jsonl", TaskResult)
    assert [r.status for r in results] == ["done", "infeasible", "done", "done"]
    assert (results[1].reason, results[1].candidates) == ("no label", ())


def test_a_killed_job_does_only_what_is_missing_and_cores_change_no_byte(job: Path, straight: JobEnd) -> None:
    output, finished = job / "two.jsonl", job / "finished-2"
    killed = run_job(job, finished, output, threads=2, searches_before_kill=2)
    assert killed.status == -signal.SIGKILL
    assert not output.exists()
    again = run_job(job, finished, output, threads=2)
    assert (again.status, again.searches) == (0, 2)
    assert output.read_bytes() == (job / "one.jsonl").read_bytes()
