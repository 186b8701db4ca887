"""The plan: one search a (formula, space group), dealt into jobs that a new formula disturbs as little as it can."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapcsp.errors import StoreError
from mapcsp.planning.groups import group_items, hash_bits
from mapcsp.planning.plan import job_sizes, plan_formula, run_plan
from mapcsp.planning.tables import bucket_files, chunk_names, read_chunk
from mapcsp.provenance import derive_seed
from mapcsp.records import (
    FormulaMaps,
    Label,
    LabelPrediction,
    PredictedMap,
    ReconstructionTask,
    SymmetryPrediction,
)
from mapcsp.settings import PlanSettings
from mapcsp.store import read_record, shard, write_json, write_maps, write_records

ids = st.lists(st.from_regex(r"[A-Z][a-z]?[0-9]{0,3}", fullmatch=True), unique=True, max_size=60)
limits = st.integers(1, 12)


def grouped(names, limit):
    return group_items([(name, hash_bits(name)) for name in names], limit)


@given(ids, limits)
def test_every_item_is_in_one_group_and_no_group_is_too_large(names, limit):
    groups = grouped(names, limit)
    assert sorted(name for members in groups.values() for name in members) == sorted(names)
    assert all(0 < len(members) <= limit for members in groups.values())


@given(ids, limits, st.randoms())
def test_the_order_of_the_list_changes_nothing(names, limit, random):
    shuffled = random.sample(names, len(names))
    assert grouped(shuffled, limit) == grouped(names, limit)


@given(ids.filter(bool), limits)
def test_a_new_item_changes_its_own_group_alone(names, limit):
    new, old = names[0], names[1:]
    before, after = grouped(old, limit), grouped(names, limit)
    gone = set(before.items()) - set(after.items())
    come = set(after.items()) - set(before.items())
    # At most one old group is changed or split, and what it held is in the new ones.
    assert len(gone) <= 1
    assert {m for _, members in come for m in members} == {m for _, members in gone for m in members} | {new}


def test_a_limit_of_one_names_a_group_after_its_item():
    assert grouped(["NaCl"], 1) == {"b0/NaCl": ("NaCl",)}


def test_searches_of_one_formula_stay_together():
    searches = [(f"{f}-{sg}", hash_bits(f, f"{f}-{sg}")) for f in map(str, range(40)) for sg in range(5)]
    for members in group_items(searches, 10).values():
        formulas = {m.partition("-")[0] for m in members}
        for formula in formulas:
            assert sum(m.startswith(f"{formula}-") for m in members) == 5


def label(sg: int, z: int = 1, log_prob: float = -1.0) -> LabelPrediction:
    return LabelPrediction(
        Label(sg, (("Cl", "b"), ("Na", "a"))),
        z,
        log_prob,
        "trained",
        np.array([5.6, 5.6, 5.6, 90, 90, 90.0]),
        0.1,
        0.1,
    )


def map_of(prediction: LabelPrediction, any_label: bool = False) -> PredictedMap:
    other = 1 - np.eye(2)
    key = None if any_label else prediction.label.key
    return PredictedMap(prediction.z, key, ("Cl", "Na"), 2.8123456 * other, 0.2 * other, 0.9 * other)


def prediction(identifier: str = "NaCl", groups=((225, 0.7), (221, 0.2)), labels=None) -> SymmetryPrediction:
    labels = (label(225), label(221), label(216), label(225, z=2)) if labels is None else labels
    return SymmetryPrediction(identifier, "NaCl", ((1, 0.9), (2, 0.1)), labels, groups)


def maps_for(predicted: SymmetryPrediction) -> FormulaMaps:
    return FormulaMaps(predicted.id, tuple(map_of(p) for p in predicted.labels))


def test_a_task_holds_the_labels_of_its_space_group_and_their_maps():
    tasks = plan_formula(prediction(), maps_for(prediction()), 1)
    assert [(t.id, t.space_group, t.space_group_prob) for t in tasks] == [
        ("NaCl-225", 225, 0.7),
        ("NaCl-221", 221, 0.2),
    ]
    assert [p.z for p in tasks[0].labels] == [1, 2]
    assert [m.label_key for m in tasks[0].maps] == [p.label.key for p in tasks[0].labels]
    assert all(t.status == "ready" and t.reason == "" for t in tasks)


def test_the_seed_of_a_task_comes_from_run_composition_and_space_group():
    first, second = plan_formula(prediction(), maps_for(prediction()), 7)
    assert first.seed == derive_seed(7, "Cl1 Na1", 225)
    assert second.seed == derive_seed(7, "Cl1 Na1", 221)


def test_the_name_of_a_row_and_the_order_of_its_formula_decide_no_seed():
    usual = prediction()
    other = replace(usual, id="row-7", formula="ClNa")
    seeds = [[t.seed for t in plan_formula(p, maps_for(p), 7)] for p in (usual, other)]
    assert seeds[0] == seeds[1]
    # Nor does it whether z was given: of the same label, the search starts alike.
    fixed = prediction(labels=(label(225, z=2),), groups=((225, 1.0),))
    assert plan_formula(fixed, maps_for(fixed), 7)[0].seed == seeds[0][0]


def test_a_space_group_without_labels_is_infeasible_and_says_why():
    (task,) = plan_formula(prediction(groups=((1, 0.5),)), maps_for(prediction()), 1)
    assert (task.status, task.labels) == ("infeasible", ())
    assert "space group 1" in task.reason


def test_a_label_without_a_map_is_an_error():
    with pytest.raises(StoreError, match=r"NaCl hold none for label 225:.* z = 1"):
        plan_formula(prediction(), FormulaMaps("NaCl", ()), 1)


def test_a_map_for_any_label_serves_all_labels_of_its_z():
    predicted = prediction(labels=(label(225),), groups=((225, 1.0),))
    (task,) = plan_formula(predicted, FormulaMaps("NaCl", (map_of(label(225), any_label=True),)), 1)
    assert task.maps[0].label_key is None


def write_inputs(folder: Path, identifiers: list[str], settings: dict | None = None) -> None:
    write_json(folder / "intake/index.json", {"ids": identifiers})
    write_json(folder / "plan.json", settings or {})
    write_json(folder / "run.json", {"seed": 1})
    for name in identifiers:
        predicted = prediction(name)
        write_records(folder / "symmetry" / shard(name) / f"{name}.jsonl", SymmetryPrediction, [predicted])
        write_maps(folder / "maps" / shard(name) / f"{name}.safetensors", maps_for(predicted))


def plan(folder: Path) -> Path:
    output = folder / "plan"
    run_plan(
        folder / "intake",
        folder / "symmetry",
        folder / "maps",
        folder / "plan.json",
        folder / "run.json",
        output,
    )
    return output


def test_by_default_each_search_and_each_formula_is_a_job(tmp_path):
    write_inputs(tmp_path, ["NaCl", "MgO"])
    output = plan(tmp_path)
    buckets = json.loads((output / "buckets.json").read_text())
    assert sorted(name.partition("/")[2] for name in buckets) == [
        "MgO-221",
        "MgO-225",
        "NaCl-221",
        "NaCl-225",
    ]
    assert [c.partition("/")[2] for c in chunk_names(output)] == ["NaCl", "MgO"]
    chunk = read_chunk(output, "b0/NaCl")
    assert chunk.formula_ids == ("NaCl",)
    assert sorted(b.partition("/")[2] for b in chunk.buckets) == ["NaCl-221", "NaCl-225"]
    (file,) = bucket_files(output, next(b for b in chunk.buckets if b.endswith("225")))
    assert file == output / "tasks/b0/NaCl/225.jsonl"
    task = read_record(file, ReconstructionTask)
    assert (task.id, task.maps[0].distance_ang[0, 1]) == ("NaCl-225", 2.81235)


def test_a_formula_added_changes_no_file_of_another(tmp_path):
    write_inputs(tmp_path, ["NaCl", "MgO"])
    before = {p: p.read_bytes() for p in plan(tmp_path).rglob("*.jsonl")}
    write_inputs(tmp_path, ["CaO", "MgO", "NaCl"])
    after = {p: p.read_bytes() for p in plan(tmp_path).rglob("*.jsonl")}
    assert {p: after[p] for p in before} == before
    assert len(after) == len(before) + 2


def test_many_searches_share_a_job_when_asked_to(tmp_path):
    names = [f"X{i}" for i in range(30)]
    write_inputs(tmp_path, names, {"tasks_per_job": 10, "formulas_per_chunk": 5})
    output = plan(tmp_path)
    buckets = json.loads((output / "buckets.json").read_text())
    assert 6 <= len(buckets) <= 20
    assert sum(map(len, buckets.values())) == 60
    members = [i for c in chunk_names(output) for i in read_chunk(output, c).formula_ids]
    assert sorted(members) == sorted(names)


@pytest.mark.parametrize(
    ("settings", "n_formulas", "sizes"),
    [
        ({}, 10, (1, 1)),
        ({}, 11, (20, 4)),
        ({}, 50, (20, 4)),
        ({}, 51, (100, 20)),
        ({}, 501, (200, 40)),
        ({}, 1000, (200, 40)),
        ({}, 1001, (200, 40)),
        ({"tasks_per_job": 5}, 1000, (5, 40)),
        ({"formulas_per_chunk": 3}, 8, (1, 3)),
    ],
)
def test_long_lists_get_larger_jobs_unless_told_otherwise(settings, n_formulas, sizes):
    assert job_sizes(PlanSettings(**settings), n_formulas) == sizes


def test_a_formula_without_space_groups_still_has_a_chunk(tmp_path):
    write_inputs(tmp_path, ["NaCl"])
    write_records(tmp_path / "symmetry/b0/NaCl.jsonl", SymmetryPrediction, [prediction(groups=())])
    assert read_chunk(plan(tmp_path), "b0/NaCl").buckets == ()


def test_a_prediction_of_another_formula_is_refused_by_file(tmp_path):
    write_inputs(tmp_path, ["NaCl"])
    write_records(tmp_path / "symmetry/b0/NaCl.jsonl", SymmetryPrediction, [prediction("MgO")])
    with pytest.raises(StoreError, match=r"symmetry/b0/NaCl\.jsonl is of formula MgO, expected NaCl"):
        plan(tmp_path)


def test_a_job_that_the_plan_does_not_have_is_an_error(tmp_path):
    write_inputs(tmp_path, ["NaCl"])
    with pytest.raises(StoreError, match=r"buckets\.json has no entry zz/none"):
        bucket_files(plan(tmp_path), "zz/none")
