"""Measures how long Snakemake needs to see a long list's jobs before the first of them runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from mapcsp.planning.groups import group_items, hash_bits
from mapcsp.provenance import PACKAGE
from mapcsp.settings import SECTIONS, Settings
from mapcsp.store import shard, write_json, write_text


@dataclass(frozen=True)
class DagBenchmark:
    """jobs: in the graph. wall_s, cpu_s: until the graph is built. memory_mb: of the process then."""

    jobs: int
    wall_s: float
    cpu_s: float
    memory_mb: float


def benchmark_dag(n_formulas: int = 1000, searches: int = 8) -> DagBenchmark:
    """Start the workflow where everything up to the plan is there, one job a search, pool and relaxation.

    Stops it when it has counted its jobs. Raises RuntimeError with Snakemake's last words if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        _plan_of(Path(folder), n_formulas, searches)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(PACKAGE.parents[1] / "Snakefile")]
        command += [
            "--directory",
            folder,
            "--cores",
            "2",
            "--dry-run",
            "--config",
            f"formulas={folder}/formulas.csv",
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if total := re.match(r"total +(\d+)$", line):
                    usage = psutil.Process(process.pid)
                    cpu = usage.cpu_times()
                    return DagBenchmark(
                        int(total[1]),
                        time.perf_counter() - start,
                        cpu.user + cpu.system,
                        usage.memory_info().rss / 2**20,
                    )
        finally:
            process.kill()
            process.wait()
    raise RuntimeError("".join(said[-20:]))


def _plan_of(folder: Path, n_formulas: int, searches: int) -> None:
    """Files of a run that has just been planned; Snakemake looks at their times, a dry run not into them."""
    results = folder / "results"
    write_text(folder / "formulas.csv", "formula\n")
    for name, section in [
        ("run", {"seed": 1}),
        *((n, getattr(Settings(), n).model_dump()) for n in SECTIONS),
    ]:
        write_json(results / "settings" / f"{name}.json", section)
    for stage in ("intake", "features", "symmetry", "maps"):
        write_json(results / stage / "index.json", {})
        write_json(results / "manifests" / f"{stage}.json", {})
    ids = [f"X{i}" for i in range(n_formulas)]
    files: dict[str, str] = {}
    for identifier in ids:
        for number in range(searches):
            name = f"{identifier}-{number}"
            files[name] = f"tasks/{shard(identifier)}/{identifier}/{number}.jsonl"
            path = results / "plan" / files[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    buckets = group_items([(name, hash_bits(name)) for name in files], 1)
    chunks = group_items([(i, hash_bits(i)) for i in ids], 1)
    bucket_of = {members[0]: bucket for bucket, members in buckets.items()}
    write_json(
        results / "plan" / "buckets.json", {b: [files[m] for m in members] for b, members in buckets.items()}
    )
    chunk_table = {
        chunk: {"formulas": [i], "buckets": [bucket_of[f"{i}-{n}"] for n in range(searches)]}
        for chunk, (i,) in chunks.items()
    }
    write_json(results / "plan" / "chunks.json", chunk_table)
    # A folder counts as old as its youngest file.
    os.utime(results / "plan")
