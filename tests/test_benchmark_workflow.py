"""`snakemake benchmark` on the twenty well-known crystals of the repository, and what runs again after a change."""

import csv
import json
import re
import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest
from mapcsp.relax.fetch import default_weights_path
from pipeline import LIST, Run, copy_repository, with_fault

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.xdist_group("benchmark"),
    pytest.mark.skipif(
        not default_weights_path().exists(), reason="needs the M3GNet weights: mapcsp fetch-potential"
    ),
]
VARIANTS = ["full", "energy", "unrelaxed", "template"]
TABLE = "resources/benchmarks/well_known.parquet"
SHRUNKEN = (
    "symmetry={n_labels: 6, max_space_groups: 3}",
    "reconstruct={population: 20, max_evaluations: 400, candidates_per_task: 2}",
    "pool={size: 4}",
    "relax={max_steps: 10}",
    "rescore={potential: none}",
)
BENCHMARK = f"count: 20, crystals_per_job: 10, distances: false, templates: [{TABLE}], variants: [{', '.join(VARIANTS)}]"


def snakemake(run: Run, *options: str, benchmark: str = BENCHMARK, config: tuple[str, ...] = ()):
    return run.snakemake("benchmark", *options, config=(*SHRUNKEN, f"benchmark={{{benchmark}}}", *config))


def jobs(run: Run, **changes) -> Counter:
    done = snakemake(run, "--dry-run", **changes)
    assert done.returncode == 0, done.stdout
    counts = re.findall(r"(?m)^(\w+) +(\d+)$", done.stdout)
    return Counter({rule: int(n) for rule, n in counts if rule not in ("benchmark", "settings", "total")})


def answers(run: Run) -> list[dict[str, str]]:
    """The rows of the table of crystals, without what they cost."""
    with open(run.result("benchmark/crystals.csv"), newline="") as file:
        return [{k: v for k, v in row.items() if k != "core_s"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("benchmark of known crystals")
    # A copy, whose commands can be made to fail, and in which nothing is edited meanwhile.
    run = Run(copy_repository(tmp_path_factory.mktemp("copy") / "repository"), folder)
    (folder / "my list.csv").write_text(LIST)
    done = snakemake(run)
    assert done.returncode == 0, done.stdout
    return run


def test_twenty_crystals_are_predicted_and_most_are_found(run):
    figures = json.loads(run.result("benchmark/figures.json").read_text())
    assert figures["crystals"] == 20 and figures["variant"] == "full"
    assert sorted(figures["variants"]) == sorted(VARIANTS)
    # With settings this small; the defaults find more.
    assert figures["match_rate_at_1"] >= 0.5
    assert figures["match_rate_at_20"] >= figures["match_rate_at_5"] >= figures["match_rate_at_1"]
    for variant in figures["variants"].values():
        assert sum(variant["causes"].values()) == 20
        low, high = variant["target"]["strict"]["match_rate_at_1_interval"]
        assert low <= variant["target"]["strict"]["match_rate_at_1"] <= high
    assert figures["variants"]["template"]["energy_evaluations_per_formula"] == 0
    assert figures["variants"]["full"]["energy_evaluations_per_formula"] > 0


def test_the_figures_say_how_they_were_made(run):
    figures = json.loads(run.result("benchmark/figures.json").read_text())
    assert figures["command"].startswith("snakemake --cores all benchmark --config 'symmetry={n_labels: 6,")
    assert figures["settings"]["pool"] == {**figures["settings"]["pool"], "size": 4}
    assert figures["versions"]["torch"] and len(figures["code"]["predict"]) == 16


def test_each_crystal_and_variant_has_a_row_in_every_table(run):
    rows = answers(run)
    assert Counter(r["variant"] for r in rows) == dict.fromkeys(VARIANTS, 20)
    table = pq.read_table(run.result("benchmark/crystals.parquet"))
    assert {*table.column_names} == {*rows[0], "core_s"} and table.num_rows == 80
    page = run.result("benchmark/index.html").read_text()
    assert all(r["material_id"] in page for r in rows)
    assert (
        "| full | everything, by probability | 20 | loose |" in run.result("benchmark/table.md").read_text()
    )


def test_nothing_runs_again_without_a_change(run):
    assert jobs(run) == {}


def test_another_ranking_only_judges_again(run):
    again = jobs(run, config=("ranking={symprec_ang: 0.05}",))
    assert set(again) == {"benchmark_judge", "benchmark_summary"}


def test_a_larger_sample_predicts_only_what_is_new(run):
    smaller = BENCHMARK.replace("count: 20", "count: 10")
    assert "benchmark_predict" not in jobs(run, benchmark=smaller)


def test_a_killed_benchmark_goes_on_where_it_was_and_ends_in_the_same_table(run, tmp_path):
    folder = tmp_path / "killed run"
    shutil.copytree(run.folder, folder, symlinks=True)
    copy = Run(run.repository, folder)
    lost, kept = sorted(copy.result("benchmark/pools/full").iterdir())
    # As if it had not come further: that chunk is not predicted, so not judged, and there is no table.
    for path in (lost, copy.result("benchmark/judged/full") / lost.name, copy.result("benchmark/table.md")):
        path.unlink()
    before = kept.stat().st_mtime_ns
    broken = with_fault(copy, "kill:results/benchmark/pools/", tmp_path / "killed")
    assert snakemake(broken, "--retries", "0").returncode == 1
    assert len([*(tmp_path / "killed").iterdir()]) == 1 and not lost.exists()
    done = snakemake(copy)
    assert done.returncode == 0, done.stdout
    assert kept.stat().st_mtime_ns == before
    assert answers(copy) == answers(run)
