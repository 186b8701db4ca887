"""The real pipeline through a real SLURM of one node, which the test starts and stops itself."""

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import copy_repository
from slurm.cluster import Cluster, missing_programs

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

SHRUNKEN = (
    "formulas=list.csv",
    "symmetry={n_labels: 4, max_space_groups: 2, max_z: 1}",
    "reconstruct={population: 20, max_evaluations: 200, candidates_per_task: 3}",
    "pool={size: 2}",
    "relax={max_steps: 3}",
)
THROUGH_SLURM = (
    *("--workflow-profile", "slurm", "--jobs", "8", "--retries", "0"),
    *("--default-resources", "slurm_partition=test", "mem_mb=500", "runtime=10"),
    # The defaults wait 40 s before they look, and ask a database that is not there.
    *("--slurm-init-seconds-before-status-checks", "5", "--slurm-status-command", "squeue"),
)
BENCHMARK = (
    "relax={max_steps: 3}",
    "rescore={potential: none}",
    "benchmark={table: resources/benchmarks/well_known.parquet, count: 4, crystals_per_job: 2,"
    " distances: false, variants: [full, energy]}",
)
CLUSTER_RULES = ("features", "symmetry", "maps", "reconstruct", "pool", "relax", "rank", "report")


def snakemake(
    repository: Path,
    folder: Path,
    *options: str,
    config: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    (folder / "list.csv").write_text("formula,z\nNaCl,1\nMgO,1\n")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(repository / "Snakefile"),
        "--directory",
        str(folder),
    ]
    command += [*options, "--config", *SHRUNKEN, *config]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def cluster():
    missing = missing_programs()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `make slurm-test` installs them")
    if os.getuid() != 0:
        pytest.skip("SLURM's daemons need root")
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("snakemake-executor-plugin-slurm is not installed; `make slurm-test` installs it")
    with Cluster() as running:
        yield running


def test_two_formulas_run_through_slurm_and_give_what_a_local_run_gives(cluster, tmp_path):
    # A copy, so that both runs have the same code whatever is edited meanwhile.
    repository = copy_repository(tmp_path / "repo")
    done = snakemake(
        repository,
        tmp_path / "slurm",
        *THROUGH_SLURM,
        environment=cluster.environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = [job for job in cluster.completed_jobs() if job["Name"] != "true"]
    logs = tmp_path / "slurm/results/logs"
    expected = sum(
        1 for rule in CLUSTER_RULES for _ in [*logs.glob(f"{rule}.log"), *logs.glob(f"{rule}/*/*.log")]
    )
    assert expected >= len(CLUSTER_RULES) + 3
    assert [job["JobState"] for job in jobs] == ["COMPLETED"] * expected

    local = snakemake(repository, tmp_path / "local", "--cores", "2")
    assert local.returncode == 0, local.stdout + local.stderr
    for name in ("ranking.csv", "failed.csv"):
        ranking = Path("results/ranking") / name
        assert (tmp_path / "slurm" / ranking).read_bytes() == (tmp_path / "local" / ranking).read_bytes()


def test_a_benchmark_runs_through_slurm_and_gives_what_a_local_one_gives(cluster, tmp_path):
    repository = copy_repository(tmp_path / "repo")
    places = {"slurm": THROUGH_SLURM, "local": ("--cores", "2")}
    for place, options in places.items():
        done = snakemake(
            *(repository, tmp_path / place, "benchmark", *options),
            config=BENCHMARK,
            environment=cluster.environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    rows = {}
    for place in places:
        with open(tmp_path / place / "results/benchmark/crystals.csv", newline="") as file:
            rows[place] = [
                {name: value for name, value in row.items() if not name.endswith("_s")}
                for row in csv.DictReader(file)
            ]
    assert len(rows["slurm"]) == 8
    assert rows["slurm"] == rows["local"]


def test_the_cluster_listens_on_loopback_only(cluster):
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A":
                addresses.add(tuple(local.split(":")))
    configuration = (cluster.root / "etc/slurm.conf").read_text()
    ports = {
        line.split("=")[1]
        for line in configuration.splitlines()
        if line.startswith(("SlurmctldPort", "SlurmdPort"))
    }
    listening = {address for address, port in addresses if str(int(port, 16)) in ports}
    assert listening == {"0100007F"}
