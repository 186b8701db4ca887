"""CRYSPNet as the pipeline's symmetry stage: its space groups and cells, with labels enumerated in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mapcsp.cryspnet.conventional import bravais_cell, standard_cell
from mapcsp.cryspnet.predict import predict_cryspnet
from mapcsp.errors import UserError
from mapcsp.records import FormulaEntry, SymmetryPrediction
from mapcsp.settings import SymmetrySettings
from mapcsp.store import read_record, shard, write_json, write_records
from mapcsp.symmetry.cells import cell_volume_ang3, impose_crystal_system
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.labels import canonical_label
from mapcsp.symmetry.predict import run_symmetry, symmetry_predictor

SETTINGS = SymmetrySettings(model="cryspnet")


def entry(amounts: dict[str, int], zs=(1, 2), number: int | None = None) -> FormulaEntry:
    name = "".join(f"{e}{n}" for e, n in amounts.items())
    return FormulaEntry(name, name, name, None, tuple(amounts.items()), zs, len(zs) == 1, number)


def test_the_stage_writes_labels_that_hold_the_formulas_with_cells_of_their_space_groups(tmp_path: Path):
    cases = [entry({"K": 1, "Cl": 1}), entry({"Sr": 1, "Ti": 1, "O": 3}, (1,))]
    for case in cases:
        write_records(tmp_path / "intake/entries" / shard(case.id) / f"{case.id}.jsonl", FormulaEntry, [case])
    write_json(tmp_path / "intake/index.json", {"ids": [c.id for c in cases]})
    write_json(tmp_path / "settings.json", SETTINGS.model_dump())
    run_symmetry(tmp_path / "intake", tmp_path / "settings.json", tmp_path / "out")
    for case in cases:
        found = read_record(tmp_path / "out" / shard(case.id) / f"{case.id}.jsonl", SymmetryPrediction)
        assert found.model == "cryspnet"
        assert 10 < len(found.labels) <= SETTINGS.n_labels
        for p in found.labels:
            geometry = label_geometry(p.label)
            content = {e: geometry.species.count(e) for e in set(geometry.species)}
            assert content == {e: n * p.z for e, n in case.amounts}
            assert canonical_label(p.label) == p.label
            assert impose_crystal_system(p.cell, p.label.space_group) == pytest.approx(p.cell)
            assert cell_volume_ang3(p.cell) > 5
        assert sum(np.exp(p.log_prob) for p in found.labels) <= 1 + 1e-9
    salt = read_record(tmp_path / "out" / shard("K1Cl1") / "K1Cl1.jsonl", SymmetryPrediction)
    assert salt.space_groups[0][0] == 225
    assert salt.labels[0].label.key == "225:Cl-a,K-b"


def test_space_groups_keep_the_networks_order_where_all_can_hold_the_formula():
    case = entry({"K": 1, "Cl": 1}, (1,))
    wide = SymmetrySettings(model="cryspnet", coverage=1.0, n_labels=500)
    found = symmetry_predictor(wide)(case)
    (network,) = predict_cryspnet([{"K": 1, "Cl": 1}], top_bravais=14, top_space_groups=230)
    ranked = [n for n, _ in network.space_groups]
    places = [ranked.index(n) for n, _ in found.space_groups]
    assert places == sorted(places)


def test_a_given_space_group_is_the_only_one():
    found = symmetry_predictor(SETTINGS)(entry({"K": 1, "Cl": 1}, (1, 2), 166))
    assert {p.label.space_group for p in found.labels} == {166}
    assert found.labels[0].cell[3:].tolist() == [90, 90, 120]
    nothing = symmetry_predictor(SETTINGS)(entry({"K": 1, "Cl": 1}, (1,), 230))
    assert nothing.labels == () and nothing.space_groups == ((230, 1.0),)


@pytest.mark.parametrize("number", [225, 194, 166, 139, 62, 38, 14, 12, 2])
def test_a_standard_cell_is_the_same_lattice_as_the_set_one(number):
    cell = impose_crystal_system(np.array([4.0, 5.0, 6.5, 85.0, 100.0, 80.0]), number)
    there = bravais_cell(number, cell)
    back = standard_cell(number, there.cell)
    assert cell_volume_ang3(back) == pytest.approx(cell_volume_ang3(cell), rel=1e-6)
    assert bravais_cell(number, back).cell == pytest.approx(there.cell, rel=1e-6)


def test_a_model_that_predicts_no_symmetry_is_named():
    with pytest.raises(UserError, match=r"symmetry.model: 'maps'.*cryspnet, symmetry"):
        symmetry_predictor(SymmetrySettings(model="maps"))
