import math
from pathlib import Path

import numpy as np
import pytest
from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.records import FormulaEntry, SymmetryPrediction
from mapcsp.resources import resource_path
from mapcsp.settings import SymmetrySettings
from mapcsp.store import read_record, shard, write_json, write_records
from mapcsp.symmetry.enumeration import enumerate_labels
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.labels import canonical_label
from mapcsp.symmetry.model import load_model
from mapcsp.symmetry.predict import predict_symmetry, run_symmetry
from mapcsp.symmetry.wyckoff import space_group

SETTINGS = SymmetrySettings()


@pytest.fixture(scope="module")
def model():
    return load_model(resource_path("models/symmetry"))


def entry(amounts: dict[str, int], zs=(1, 2, 3, 4), number: int | None = None) -> FormulaEntry:
    name = "".join(f"{e}{n if n > 1 else ''}" for e, n in amounts.items())
    return FormulaEntry(name, name, name, None, tuple(amounts.items()), tuple(zs), len(zs) == 1, number)


@pytest.mark.parametrize(
    ("amounts", "number"),
    [
        ({"K": 1, "Br": 1}, 225),
        ({"Cs": 1, "Sn": 1, "Br": 3}, 221),
        ({"Ga": 1, "As": 1}, 216),
        ({"Ca": 1, "F": 2}, 225),
    ],
)
def test_simple_compounds_have_their_space_group_among_the_first_three(model, amounts, number) -> None:
    found = predict_symmetry(entry(amounts), SETTINGS, model)
    assert number in [n for n, _ in found.space_groups[:3]]


@pytest.mark.parametrize(
    "case",
    [
        entry({"Na": 1, "Cl": 1}),
        entry({"Ti": 1, "O": 2}, (2,)),
        entry({"Cu": 2, "Zn": 1, "Sn": 1, "S": 4}, (1,), 82),
        entry({"Na": 1, "K": 2, "Cl": 7}, (1,)),
        entry({"Li": 1, "Co": 1, "O": 2}),
    ],
    ids=lambda e: e.id,
)
def test_every_label_holds_the_formula_and_its_seeds_decode(model, case) -> None:
    found = predict_symmetry(case, SETTINGS, model)
    assert found.labels
    assert sum(math.exp(p.log_prob) for p in found.labels) <= 1 + 1e-6
    assert [p.log_prob for p in found.labels] == sorted((p.log_prob for p in found.labels), reverse=True)
    for label in found.labels:
        geometry = label_geometry(label.label)
        content = {e: geometry.species.count(e) for e in set(geometry.species)}
        assert content == {e: n * label.z for e, n in case.amounts}
        assert label.z in case.z_allowed
        assert canonical_label(label.label) == label.label
        for seed in label.seeds:
            crystal = geometry.decode(seed.cell, seed.free_coords)
            assert 3 < crystal.volume_ang3 / crystal.n_atoms < 120
            assert np.isfinite(crystal.frac_coords).all()


def test_a_given_space_group_is_respected_even_if_no_crystal_is_known_there(model) -> None:
    found = predict_symmetry(entry({"Na": 1, "Cl": 1}, (1, 2, 3, 4), 99), SETTINGS, model)
    assert {p.label.space_group for p in found.labels} == {99}
    ((number, probability),) = found.space_groups
    assert number == 99
    assert probability == pytest.approx(1.0)
    # What is missing to 1 are the labels beyond n_labels, and z that are not tried.
    assert 0 < found.untried.labels_probability < 0.5


def test_a_composition_that_no_crystal_has_gets_enumerated_labels(model) -> None:
    found = predict_symmetry(entry({"Na": 3, "Al": 7, "Cl": 13}, (1,)), SETTINGS, model)
    assert {p.source for p in found.labels} == {"enumerated"}
    assert all(not p.seeds for p in found.labels)


def test_a_space_group_that_cannot_hold_the_formula_is_a_prediction_without_labels(model) -> None:
    # Ia-3d has no position for one or two atoms of the primitive cell.
    found = predict_symmetry(entry({"Na": 1, "Cl": 1}, (1,), 230), SETTINGS, model)
    assert found.labels == ()
    assert found.space_groups == ((230, 1.0),)


def test_the_space_groups_to_run_reach_the_coverage_and_no_more(model) -> None:
    case = entry({"Ti": 1, "O": 2}, (2,))
    wide = predict_symmetry(case, SymmetrySettings(coverage=0.95, n_labels=500), model)
    assert sum(p for _, p in wide.space_groups) == pytest.approx(1.0)
    # Of all labels, those of other space groups too.
    reached = [p * (1 - wide.untried.probability) for _, p in wide.space_groups]
    assert sum(reached) >= 0.95 or len(reached) == SymmetrySettings().max_space_groups
    assert sum(reached[:-1]) < 0.95
    narrow = predict_symmetry(case, SymmetrySettings(coverage=0.95, n_labels=500, max_space_groups=1), model)
    ((number, certain),) = narrow.space_groups
    assert (number, certain) == (wide.space_groups[0][0], pytest.approx(1.0))
    assert 1 - narrow.untried.probability == pytest.approx(reached[0])


def test_hiding_a_formula_takes_its_own_crystals_away(model) -> None:
    memory = model.memory
    index = int(np.flatnonzero(np.bincount(memory.example_label) == 1)[0])
    row = int(memory.examples_of_label[index][0])
    hidden = int(memory.example_formula[row])
    anonymous = memory.labels[index]
    elements = [SYMBOLS[n - 1] for n in memory.example_elements[row][: len(anonymous.roles)]]
    counts = anonymous.counts
    z = int(np.gcd.reduce(counts))
    case = entry({e: c // z for e, c in zip(elements, counts)}, (z,))
    label = canonical_label(anonymous.assign(tuple(elements)))
    settings = SymmetrySettings(n_labels=500, max_space_groups=230, coverage=1.0)

    def trained(found: SymmetryPrediction) -> set:
        return {p.label for p in found.labels if p.source == "trained"}

    assert label in trained(predict_symmetry(case, settings, model))
    assert label not in trained(predict_symmetry(case, settings, model, hidden))


def test_enumerated_labels_use_fixed_positions_once(model) -> None:
    labels = enumerate_labels((("Na", 2), ("Cl", 2)), 123, model.letters, 20)
    assert 10 <= len(labels) <= 20
    fixed = {p.letter for p in space_group(123).positions if p.n_free == 0}
    for label, _ in labels:
        used = [w for _, w in label.orbits if w in fixed]
        assert len(used) == len(set(used))


def test_the_stage_writes_one_file_a_formula_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    cases = [entry({"Na": 1, "Cl": 1}), entry({"Zn": 1, "S": 1}, (1,), 216)]
    for case in cases:
        write_records(tmp_path / "intake/entries" / shard(case.id) / f"{case.id}.jsonl", FormulaEntry, [case])
    write_json(tmp_path / "intake/index.json", {"ids": [c.id for c in cases]})
    write_json(tmp_path / "settings.json", SETTINGS.model_dump())
    for folder in ("one", "two"):
        run_symmetry(tmp_path / "intake", tmp_path / "settings.json", tmp_path / folder)
    for case in cases:
        place = Path(shard(case.id)) / f"{case.id}.jsonl"
        assert (tmp_path / "one" / place).read_bytes() == (tmp_path / "two" / place).read_bytes()
        assert read_record(tmp_path / "one" / place, SymmetryPrediction).id == case.id


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="memory.safetensors does not exist"):
        load_model(tmp_path)
