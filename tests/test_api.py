"""`mapcsp.api`: its worked example runs, and its results are records, tables and structures that fit together."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from known_structures import perovskite, rock_salt
from mapcsp import api
from mapcsp.api import run
from mapcsp.api.run import PredictionResults
from mapcsp.crystals import to_structure
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from pymatgen.core import Structure

POTENTIAL = Path(__file__).parents[1] / "resources/potentials/m3gnet.safetensors"
needs_potential = pytest.mark.skipif(not POTENTIAL.exists(), reason="the M3GNet weights are not here")


@needs_potential
def test_the_worked_example_of_the_documentation_runs():
    found = doctest.testmod(api, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 8 and found.failed == 0


def test_importing_mapcsp_is_light_and_the_api_comes_on_first_use():
    code = (
        "import sys, mapcsp; heavy = {'numpy', 'pandas', 'torch', 'pymatgen'}\n"
        "assert heavy.isdisjoint(sys.modules); mapcsp.api.score\n"
        "assert 'pandas' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_attribute_of_the_package_is_an_attribute_error():
    import mapcsp

    with pytest.raises(AttributeError, match="module 'mapcsp' has no attribute 'nonsense'"):
        _ = mapcsp.nonsense


def test_the_symmetry_table_has_the_labels_of_the_records():
    found = api.symmetry(["NaCl", "SrTiO3"], settings={"symmetry": {"n_labels": 5}})
    assert [p.formula for p in found.predictions] == ["NaCl", "SrTiO3"]
    for prediction in found.predictions:
        rows = found.table[found.table["id"] == prediction.id]
        assert rows["rank"].tolist() == list(range(1, len(prediction.labels) + 1))
        # n_labels counts a label among those of cells no larger, so that the smallest cells have just as many.
        assert (rows["z"] == 1).sum() == 5 if prediction.id == "NaCl" else len(rows) >= 5
        assert rows["label"].tolist() == [label.label.key for label in prediction.labels]
        assert 0.5 < rows["probability"].sum() <= 1 + 1e-9
        assert rows["probability"].is_monotonic_decreasing
    assert set(found.space_groups["id"]) == {"NaCl", "SrTiO3"}


def test_the_results_do_not_depend_on_the_threads_of_the_caller_and_leave_them_alone():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = api.symmetry("SrTiO3", settings={"symmetry": {"n_labels": 3}}).table
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    pd.testing.assert_frame_equal(first, api.symmetry("SrTiO3", settings={"symmetry": {"n_labels": 3}}).table)


@pytest.mark.parametrize("model", ["maps", "alphacrystal", "alphacrystal2"])
def test_maps_are_square_tables_of_the_atoms_of_each_label(model):
    found = api.maps("SrTiO3", z=1, settings={"maps": {"model": model}, "symmetry": {"n_labels": 3}})
    assert found.table["rank"].tolist() == [1, 2, 3]
    distances, contacts = found.distances(), found.contacts("SrTiO3_z1", rank=3)
    assert sorted(distances.columns) == ["O", "O", "O", "Sr", "Ti"]
    values = distances.to_numpy()
    assert (values == values.T).all() and not np.diag(values).any()
    assert contacts.to_numpy().min() >= 0 and contacts.to_numpy().max() <= 1
    off = values[np.triu_indices(5, 1)]
    assert found.table["shortest_ang"][0] == pytest.approx(off.min())


def test_a_map_that_is_not_there_is_a_users_mistake():
    found = api.maps("NaCl", z=1, settings={"symmetry": {"n_labels": 2}})
    for formula, rank in ((1, 1), ("KCl", 1), (0, 3), (0, 0)):
        with pytest.raises(UserError, match="no map .*; the formulas are NaCl_z1"):
            found.distances(formula, rank)


@needs_potential
def test_relax_takes_structures_records_and_files_and_keeps_their_order(tmp_path):
    structure = to_structure(perovskite())
    structure.to(filename=str(tmp_path / "given.cif"))
    lattice = np.eye(3) * 3.0
    crushed = Crystal(lattice, ("Na", "Cl"), np.array([[0.0, 0, 0], [0.01, 0, 0]]))
    found = api.relax([structure, crushed, tmp_path / "given.cif"], settings={"relax": {"max_steps": 2}})
    assert found.table["name"].tolist() == ["SrTiO3", "NaCl", str(tmp_path / "given.cif")]
    assert found.table["status"][1] == "dropped" and found.table["reason"][1]
    assert found.structures[1] is None
    energies = found.table["energy_ev_per_atom"]
    assert energies[0] == pytest.approx(energies[2], abs=1e-4)
    assert pd.isna(energies[1])
    assert isinstance(found.structures[0], Structure)
    assert found.table["space_group"][0] == 221


def test_score_tells_a_match_from_none():
    salt = to_structure(rock_salt())
    same = api.score(salt, salt * [2, 1, 1])
    assert same.rms_strict == pytest.approx(0, abs=1e-6)
    assert same.space_groups == (225, 225)
    caesium_like = Structure(np.eye(3) * 3.5, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    other = api.score(caesium_like, salt)
    assert other.rms_loose is None and other.space_groups == (221, 225)
    table = other.table.set_index("metric")
    assert table["value"]["match_loose"] == 0
    assert table["note"]["rms_loose"] == "no match within these tolerances"


def test_score_refuses_crystals_of_two_formulas():
    with pytest.raises(UserError, match="NaCl.*SrTiO3.*only crystals of one formula can be compared"):
        api.score(rock_salt(), perovskite())


def test_a_result_shows_as_a_table_in_a_notebook_and_in_a_shell():
    found = api.symmetry("NaCl", z=1, settings={"symmetry": {"n_labels": 2}})
    assert "<table" in found._repr_html_() and "225:Cl-a,Na-b" in found._repr_html_()
    assert "225:Cl-a,Na-b" in repr(found)


def test_a_ranking_keeps_sodium_nitride_and_ids_as_text(tmp_path):
    ranking = tmp_path / "results/ranking/ranking.csv"
    ranking.parent.mkdir(parents=True)
    ranking.write_text("id,formula,rank,probability,cif\nNaN,Na3N,1,0.5,a.cif\n007,NaN,1,,b.cif\n")
    table = PredictionResults(tmp_path).table
    assert table["id"].tolist() == ["NaN", "007"]
    assert table["formula"].tolist() == ["Na3N", "NaN"]
    assert table["probability"][0] == 0.5 and pd.isna(table["probability"][1])
    with pytest.raises(UserError, match="'KCl' has no structure here; there are NaN, 007"):
        PredictionResults(tmp_path).structures("KCl")


@pytest.mark.workflow
@needs_potential
def test_files_named_in_the_settings_are_found_from_the_runs_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "_run_workflow", lambda folder, cores: None)
    (tmp_path / "model").mkdir()
    relax = {"hull_table": "phases.csv", "potential": "matgl:model"}
    run.predict("NaCl", out="there", settings={"relax": relax})
    written = yaml.safe_load((tmp_path / "there/config.yaml").read_text())["relax"]
    assert written["hull_table"] == str(tmp_path / "phases.csv")
    assert written["potential"] == f"matgl:{tmp_path / 'model'}"
    run.predict("NaCl", out="there", settings={"relax": {"potential": "matgl:on-the-hub"}})
    assert (
        yaml.safe_load((tmp_path / "there/config.yaml").read_text())["relax"]["potential"]
        == "matgl:on-the-hub"
    )


def test_a_finished_run_gives_tables_structures_and_its_report(finished):
    results = PredictionResults(finished.folder)
    assert set(results.table["id"]) == {"NaCl_z1", "MgO_z1"}
    assert results.failed.empty
    assert results.rejected["line"].tolist() == [4]
    structures = results.structures("NaCl_z1")
    assert len(structures) == (results.table["id"] == "NaCl_z1").sum()
    assert structures[0].composition.reduced_formula == "NaCl"
    assert results.report.exists()
