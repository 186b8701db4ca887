"""Long lists: generated formulas, groups of work that stay put, folders that stay small, a graph that stays quick."""

import json
from collections import Counter
from functools import cache
from itertools import islice
from math import gcd

import pytest
from mapcsp.errors import UserError
from mapcsp.formulas.chemistry import smact_tests
from mapcsp.formulas.generate import neutral_formulas, run_generate_formulas
from mapcsp.formulas.parse import parse_formula
from mapcsp.planning.benchmark import benchmark_dag
from mapcsp.planning.groups import group_items, hash_bits
from mapcsp.planning.plan import job_sizes
from mapcsp.settings import PlanSettings
from mapcsp.store import shard
from pipeline import Run, copy_repository

MOST_FILES_IN_A_FOLDER = 10_000
# A thousand formulas through every stage, as small as each stage can be.
SMALLEST = (
    "symmetry={n_labels: 4, max_space_groups: 1, max_z: 1}",
    "reconstruct={population: 20, max_evaluations: 200, candidates_per_task: 2}",
    "pool={size: 1}",
    "relax={max_steps: 2}",
)


@cache
def formulas(count: int) -> tuple[str, ...]:
    return tuple(islice(neutral_formulas(1, 12), count))


def test_generated_formulas_are_different_neutral_and_small():
    assert len(set(formulas(300))) == 300
    for formula in formulas(300):
        amounts = parse_formula(formula)
        assert sum(amounts.values()) <= 12 and gcd(*amounts.values()) == 1
        tests = smact_tests(tuple(amounts.items()))
        assert tests.charge_neutral and tests.electronegativity_balanced


def test_a_longer_list_begins_with_the_shorter_one(tmp_path):
    run_generate_formulas(20, 1, 12, tmp_path / "20.csv")
    run_generate_formulas(21, 1, 12, tmp_path / "21.csv")
    shorter, longer = (tmp_path / "20.csv").read_text(), (tmp_path / "21.csv").read_text()
    assert longer.startswith(shorter) and len(longer.splitlines()) == 22
    assert shorter.splitlines() == ["formula", *formulas(300)[:20]]


def test_another_seed_gives_other_formulas():
    assert set(islice(neutral_formulas(2, 12), 50)) != set(formulas(300)[:50])


def test_more_formulas_than_there_are_is_an_error(tmp_path):
    with pytest.raises(UserError, match="formulas of at most 2 atoms were found, expected 100000"):
        run_generate_formulas(100_000, 1, 2, tmp_path / "none.csv")


def buckets_and_chunks(ids: tuple[str, ...], searches: int = 5) -> tuple[dict, dict]:
    """Jobs of a list at default settings, each formula with the same number of searches."""
    tasks, chunk = job_sizes(PlanSettings(), len(ids))
    items = [(f"{i}-{n}", hash_bits(i, f"{i}-{n}")) for i in ids for n in range(searches)]
    return group_items(items, tasks), group_items([(i, hash_bits(i)) for i in ids], chunk)


def test_a_formula_added_to_a_thousand_changes_one_job_of_each_kind():
    *before, added = formulas(1001)
    for old, new in zip(buckets_and_chunks(tuple(before)), buckets_and_chunks((*before, added))):
        changed = {name: members for name, members in new.items() if old.get(name) != members}
        gone = {name: members for name, members in old.items() if new.get(name) != members}
        # One group, which may have split in two.
        assert len(gone) == 1 and len(changed) <= 2
        assert any(member.startswith(added) for members in changed.values() for member in members)


def test_jobs_of_a_long_list_are_well_filled():
    buckets, chunks = buckets_and_chunks(formulas(1001)[:1000])
    assert 5000 / len(buckets) > 100 and 1000 / len(chunks) > 20


def test_no_folder_of_a_hundred_thousand_formulas_holds_ten_thousand_files():
    folders = Counter(shard(f"formula-{i}") for i in range(100_000))
    # The most that lie side by side are the kept searches, up to ten a formula.
    searches = Counter(shard(f"formula-{i}-{n}") for i in range(100_000) for n in range(10))
    assert len(folders) == 256 and max(folders.values()) < 1000
    assert max(searches.values()) < MOST_FILES_IN_A_FOLDER


@pytest.mark.workflow
def test_a_graph_of_ten_thousand_jobs_takes_less_than_a_gigabyte():
    dag = benchmark_dag(1000, 8)
    assert dag.jobs >= 10_000
    assert dag.memory_mb < 1000


@pytest.mark.scale
def test_a_thousand_formulas_run_through_every_stage_and_one_more_runs_alone(tmp_path):
    run = Run(copy_repository(tmp_path / "repo"), tmp_path / "run")
    run.folder.mkdir()
    config = ("formulas=list.csv", *SMALLEST)
    run_generate_formulas(1000, 1, 12, run.folder / "list.csv")
    done = run.snakemake(config=config)
    assert done.returncode == 0, done.stdout
    accepted = json.loads(run.result("intake/index.json").read_text())["ids"]
    assert len(accepted) == 1000
    outcomes = [
        json.loads(line) for line in run.result("ranking/outcomes.jsonl").read_text().splitlines()[1:-1]
    ]
    assert [o["formula_id"] for o in outcomes] == accepted
    files = Counter(path.parent for path in run.folder.rglob("*"))
    assert max(files.values()) < MOST_FILES_IN_A_FOLDER

    searched = {path: path.stat().st_mtime_ns for path in run.result("finished").rglob("*.jsonl")}
    run_generate_formulas(1001, 1, 12, run.folder / "list.csv")
    done = run.snakemake("--until", "plan", config=config)
    assert done.returncode == 0, done.stdout
    jobs = run.jobs(config=config)
    # Its own bucket, which may split, and the chunks whose formulas share that bucket: they find what is finished again.
    assert jobs["reconstruct"] <= 2
    assert jobs["pool"] == jobs["relax"] <= 8
    done = run.snakemake(config=config)
    assert done.returncode == 0, done.stdout
    now = {path: path.stat().st_mtime_ns for path in run.result("finished").rglob("*.jsonl")}
    assert {path: time for path, time in now.items() if path in searched} == searched
    assert {path.name.rpartition("-")[0] or path.stem for path in now.keys() - searched.keys()} == {
        formulas(1001)[1000]
    }
