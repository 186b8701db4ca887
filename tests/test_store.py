"""The store: what is written is read back, and nothing damaged, half-written or not finite passes."""

import json
import math
import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapcsp import store
from mapcsp.errors import StoreError
from mapcsp.records import (
    FitnessTerms,
    FormulaEntry,
    FormulaMaps,
    Label,
    LabelPrediction,
    PredictedMap,
    SeedGeometry,
)


@dataclass(frozen=True, eq=False)
class Sample:
    """A record with every kind of field."""

    name: str
    count: int
    share: float
    pairs: tuple[tuple[str, int], ...]
    array: np.ndarray
    maybe: float | None = None
    label: Label | None = None


names = st.text(max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
samples = st.builds(
    Sample,
    name=names,
    count=st.integers(-(2**40), 2**40),
    share=finite,
    pairs=st.lists(st.tuples(names, st.integers(0, 9)), max_size=4).map(tuple),
    array=st.lists(finite, max_size=6).map(np.array),
    maybe=st.none() | finite,
    label=st.none() | st.builds(Label, st.integers(1, 230), st.just((("Na", "a"),))),
)


@given(records=st.lists(samples, max_size=5))
def test_records_survive_their_file(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "records.jsonl"
    store.write_records(path, Sample, records, seed=3)
    found = store.read_records(path, Sample)
    assert [store.to_plain(r) for r in found] == [store.to_plain(r) for r in records]
    assert store.read_header(path) == {"kind": "Sample", "schema": store.SCHEMA_VERSION, "seed": 3}


def test_nested_records_come_back_with_their_types(tmp_path):
    seed = SeedGeometry(np.arange(6.0), np.array([0.25]), np.array([0.01]), 0.5, 3)
    label = Label(225, (("Cl", "b"), ("Na", "a")))
    prediction = LabelPrediction(label, 1, -0.5, "trained", np.ones(6), 0.1, 0.05, (seed,))
    store.write_records(tmp_path / "p.jsonl", LabelPrediction, [prediction])
    found = store.read_record(tmp_path / "p.jsonl", LabelPrediction)
    assert found.label == label and found.label.key == "225:Cl-b,Na-a"
    assert isinstance(found.seeds[0], SeedGeometry)
    np.testing.assert_array_equal(found.seeds[0].cell, seed.cell)


def test_same_records_give_the_same_bytes(tmp_path):
    records = [FitnessTerms(1.5), FitnessTerms(-2.0, map_log_likelihood=0.1)]
    for name in ("a", "b"):
        store.write_records(tmp_path / name, FitnessTerms, records, seed=1, settings="x")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_not_written(tmp_path, value):
    path = tmp_path / "r.jsonl"
    with pytest.raises(StoreError, match=r"r\.jsonl: FitnessTerms 1: .*not finite"):
        store.write_records(path, FitnessTerms, [FitnessTerms(1.0), FitnessTerms(value)])
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_file_is_noticed_wherever_it_is_cut(tmp_path):
    path = tmp_path / "r.jsonl"
    store.write_records(path, FitnessTerms, [FitnessTerms(1.0), FitnessTerms(2.0)])
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"r\.jsonl"):
            store.read_records(path, FitnessTerms)


def test_a_missing_record_in_the_middle_is_noticed(tmp_path):
    path = tmp_path / "r.jsonl"
    store.write_records(path, FitnessTerms, [FitnessTerms(1.0), FitnessTerms(2.0)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(StoreError, match="truncated"):
        store.read_records(path, FitnessTerms)


def test_a_changed_digit_is_noticed(tmp_path):
    path = tmp_path / "r.jsonl"
    store.write_records(path, FitnessTerms, [FitnessTerms(1.0), FitnessTerms(2.0)])
    path.write_text(path.read_text().replace('"total": 2.0', '"total": 3.0'))
    with pytest.raises(StoreError, match=r"r\.jsonl is corrupt \(its checksum does not fit\)"):
        store.read_records(path, FitnessTerms)


def test_a_changed_byte_of_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "t.safetensors"
    store.write_tensors(path, {"a": np.arange(6.0), "b": np.ones(3, np.float32)}, {"header": "{}"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.raises(StoreError, match=r"t\.safetensors is corrupt"):
        store.read_tensors(path)


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("results/symmetry/3f/NaCl.jsonl", "run snakemake again with `--forcerun symmetry` to rebuild it"),
        ("results/plan/buckets.json", "run snakemake again with `--forcerun plan` to rebuild it"),
        ("results/relax/3f/NaCl.jsonl", "delete it and run snakemake again to rebuild it"),
        ("elsewhere/symmetry.jsonl", "delete it and run snakemake again to rebuild it"),
    ],
)
def test_the_advice_for_a_damaged_file_fits_its_stage(tmp_path, place, advice):
    assert store.rebuild_advice(tmp_path / place) == advice


def test_records_of_another_kind_are_refused(tmp_path):
    store.write_records(tmp_path / "r.jsonl", FitnessTerms, [])
    with pytest.raises(StoreError, match="holds FitnessTerms of schema 1, expected FormulaEntry of 1"):
        store.read_records(tmp_path / "r.jsonl", FormulaEntry)


def test_records_of_another_schema_are_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"kind": "FitnessTerms", "schema": 0}\n{"end": 0}\n')
    with pytest.raises(StoreError, match="schema 0"):
        store.read_records(path, FitnessTerms)


def test_a_record_with_a_foreign_field_is_refused_with_its_line(tmp_path):
    path = tmp_path / "r.jsonl"
    lines = [{"kind": "FitnessTerms", "schema": 1}, {"total": 1.0, "price": 2}, {"end": 1}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StoreError, match=r"r\.jsonl line 2: not a FitnessTerms"):
        store.read_records(path, FitnessTerms)


def test_binary_rubbish_is_named_as_corrupt(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xff\xfe\x00rubbish")
    with pytest.raises(StoreError, match=r"r\.jsonl .*corrupt"):
        store.read_records(path, FitnessTerms)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    store.write_text(path, "old")

    def write_half():
        with store.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_csv_leaves_none_empty_and_keeps_ten_digits(tmp_path):
    store.write_csv(tmp_path / "t.csv", ("a", "b", "c"), [(None, 1 / 3, "x,y")])
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n,0.3333333333,"x,y"\n'
    assert store.read_csv(tmp_path / "t.csv") == [{"a": "", "b": "0.3333333333", "c": "x,y"}]


def test_csv_refuses_a_row_of_another_length(tmp_path):
    with pytest.raises(ValueError, match="1 cells, expected 2"):
        store.write_csv(tmp_path / "t.csv", ("a", "b"), [(1,)])
    assert not (tmp_path / "t.csv").exists()


def test_tensors_survive_their_file_and_damage_is_named(tmp_path):
    path = tmp_path / "t.safetensors"
    store.write_tensors(path, {"x": np.arange(6.0).reshape(2, 3)}, {"who": "me"})
    arrays, metadata = store.read_tensors(path)
    np.testing.assert_array_equal(arrays["x"], np.arange(6.0).reshape(2, 3))
    assert metadata == {"who": "me"}
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StoreError, match=r"t\.safetensors"):
        store.read_tensors(path)


def test_a_tensor_with_nan_is_not_written(tmp_path):
    with pytest.raises(StoreError, match="tensor x"):
        store.write_tensors(tmp_path / "t.safetensors", {"x": np.array([1.0, np.nan])})


def example_map(n: int, label: str | None = "225:Cl-b,Na-a") -> PredictedMap:
    other = 1 - np.eye(n)
    return PredictedMap(1, label, ("Na",) * n, 2.5 * other, 0.25 * other, 0.5 * other)


def test_maps_of_several_sizes_survive_their_file(tmp_path):
    path = tmp_path / "NaCl.safetensors"
    maps = FormulaMaps("NaCl", (example_map(2), example_map(4, None), example_map(2)), "model")
    store.write_maps(path, maps)
    found = store.read_maps(path)
    assert (found.id, found.model) == ("NaCl", "model")
    assert [m.label_key for m in found.maps] == ["225:Cl-b,Na-a", None, "225:Cl-b,Na-a"]
    for before, after in zip(maps.maps, found.maps):
        np.testing.assert_array_equal(before.distance_ang, after.distance_ang)
        np.testing.assert_array_equal(before.contact_prob, after.contact_prob)
    again = tmp_path / "again.safetensors"
    store.write_maps(again, maps)
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("distance_ang", np.zeros((3, 3)), "shape"),
        ("distance_ang", np.array([[0.0, 2.0], [1.0, 0.0]]), "symmetric"),
        ("spread_ang", np.zeros((2, 2)), "not positive"),
        ("contact_prob", np.array([[0.0, 2.0], [2.0, 0.0]]), "outside 0 to 1"),
        ("distance_ang", np.array([[0.0, np.nan], [np.nan, 0.0]]), "not finite"),
    ],
)
def test_a_map_that_is_no_map_is_not_written(tmp_path, field, value, fault):
    from dataclasses import replace

    broken = replace(example_map(2), **{field: value})
    with pytest.raises(StoreError, match=fault):
        store.write_maps(tmp_path / "m.safetensors", FormulaMaps("x", (broken,)))


def test_the_empty_set_of_maps_survives_its_file(tmp_path):
    store.write_maps(tmp_path / "m.safetensors", FormulaMaps("x", ()))
    assert store.read_maps(tmp_path / "m.safetensors").maps == ()


def test_shards_are_stable_and_spread():
    assert store.shard("NaCl") == "b0"
    used = {store.shard(f"id{i}") for i in range(5000)}
    assert len(used) == 256


@given(st.text(min_size=1, max_size=50))
def test_a_shard_is_a_file_name(identifier):
    assert len(store.shard(identifier)) == 2 and set(store.shard(identifier)) <= set("0123456789abcdef")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_every_file_is_as_readable_as_the_users_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        store.write_tensors(tmp_path / "a.safetensors", {"x": np.zeros(2)})
        store.write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert [oct(path.stat().st_mode & 0o777) for path in sorted(tmp_path.iterdir())] == [oct(mode)] * 2
