"""`relax` and `score` of the interface in Python: what stands in their tables and files, with a potential worked by hand."""

from __future__ import annotations

from pathlib import Path

import known_structures as listed
import numpy as np
import pandas as pd
import pytest
from mapcsp import api
from mapcsp.api.structures import RelaxResults, ScoreResults, write_cif_files
from mapcsp.crystals import to_structure
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import UserError
from mapcsp.metrics.structures import StructureDistances
from mapcsp.relax import backends, references
from mapcsp.relax.potential import AtomBatch, BatchEvaluation
from mapcsp.relax.references import References
from mapcsp.relax.relaxation import Relaxation
from pymatgen.core import Structure

SALT_SITES = [[0, 0, 0], [0.5, 0.5, 0.5]]


class Toy:
    """Sodium has -1 eV, chlorine -3 eV, wherever they are, and a stress too small for a step."""

    name, content_hash, needs_mp2020, cutoff_ang = "toy", "0123456789abcdef", False, 5.0
    elements = SUPPORTED_ELEMENTS

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        by_atom = np.where(batch.numbers == 11, -1.0, -3.0)
        energies = np.add.reduceat(by_atom, batch.starts)
        return BatchEvaluation(
            energies, np.zeros((len(by_atom), 3)), np.tile(0.001 * np.eye(3), (len(energies), 1, 1))
        )


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """Potentials that are asked for, by name and device."""
    calls: list[tuple] = []

    def load(*arguments):
        calls.append(arguments)
        return Toy()

    monkeypatch.setattr(backends, "load_potential", load)
    monkeypatch.setattr(
        references, "read_references", lambda _: References("toy", "0", False, {"Na": -0.5, "Cl": -2.0})
    )
    return calls


def caesium_like(a: float = 3.5) -> Structure:
    return Structure(np.eye(3) * a, ["Na", "Cl"], SALT_SITES)


def test_a_row_of_relax_has_the_energies_groups_and_potential_of_its_crystal(asked, tmp_path) -> None:
    (tmp_path / "bad.cif").write_text("data_x\n")
    given = [caesium_like(), tmp_path / "bad.cif", Structure(np.eye(3) * 4, ["Na"], [[0, 0, 0]])]
    found = api.relax(given, potential="toy", settings={"relax": {"device": "cpu"}})
    assert asked == [("toy", "cpu")]
    salt, bad, sodium = found.table.to_dict("records")
    assert (salt["name"], salt["formula"], salt["n_atoms"], salt["status"]) == (
        "NaCl",
        "NaCl",
        2,
        "converged",
    )
    assert salt["energy_ev_per_atom"] == salt["initial_energy_ev_per_atom"] == pytest.approx(-2.0)
    # -2 eV, less the mean of -0.5 and -2 eV.
    assert salt["formation_energy_ev_per_atom"] == pytest.approx(-0.75)
    assert (salt["space_group_before"], salt["space_group"], sodium["space_group"]) == (221, 221, 221)
    assert (salt["max_force_ev_per_ang"], salt["volume_change"]) == (0.0, 0.0)
    assert salt["max_stress_gpa"] == pytest.approx(0.001)
    assert salt["potential"] == "toy 0123456789ab" and salt["n_steps"] == 0
    assert (salt["reason"], salt["caution"]) == ("", "")
    assert sodium["energy_ev_per_atom"] == pytest.approx(-1.0)
    assert sodium["formation_energy_ev_per_atom"] == pytest.approx(-0.5)
    assert (bad["name"], bad["status"], bad["n_steps"]) == (str(tmp_path / "bad.cif"), "failed", 0)
    assert bad["reason"] == "no block of this CIF lists atoms"
    for empty in ("formula", "n_atoms", "energy_ev_per_atom", "formation_energy_ev_per_atom", "space_group"):
        assert pd.isna(bad[empty]), empty
    assert [str(found.table[c].dtype) for c in ("n_atoms", "space_group", "volume_change")] == [
        "Int64", "Int64", "float64",
    ]  # fmt: skip
    assert found.structures[1] is None and found.structures[0].composition.reduced_formula == "NaCl"


def test_without_references_there_is_no_formation_energy(asked, monkeypatch) -> None:
    monkeypatch.setattr(references, "read_references", lambda _: None)
    found = api.relax(caesium_like(), settings={"relax": {"potential": "toy:settings"}})
    assert found.formation_energies_ev_per_atom == (None,)
    assert found.table["formation_energy_ev_per_atom"].isna().all()
    assert asked[0][0] == "toy:settings"


def test_relax_without_a_structure_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no structure was given; give at least one file or pymatgen"):
        api.relax([])


def test_cautions_of_a_file_are_joined_in_its_row(asked, tmp_path) -> None:
    sites = "D1 D 0 0 0 1\nQ1 Q .2 .2 .2 0\nO1 O .5 .5 .5 1\n"
    cell = "".join(
        f"_cell_length_{a} 3\n_cell_angle_{b} 90\n" for a, b in zip("abc", ("alpha", "beta", "gamma"))
    )
    names = "".join(
        f"_atom_site_{n}\n" for n in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    )
    (tmp_path / "x.cif").write_text(f"data_x\n{cell}_symmetry_Int_Tables_number 1\nloop_\n{names}{sites}")
    (row,) = api.relax(str(tmp_path / "x.cif")).table.to_dict("records")
    assert row["caution"] == "D is read as H; the empty site Q1 (occupancy 0) is left out"


def results(names: list[str], kept: list[bool]) -> RelaxResults:
    crystal = listed.rock_salt()
    ends = tuple(
        Relaxation("converged", crystal=crystal) if keep else Relaxation("dropped", "why") for keep in kept
    )
    n = len(names)
    return RelaxResults(tuple(names), (crystal,) * n, ((),) * n, ends, (None,) * n, "toy", 0.1)


def test_cif_files_are_named_like_the_files_that_were_relaxed(tmp_path) -> None:
    names = [
        "a/POSCAR",
        "b/POSCAR",
        "c/POSCAR",
        "frames.xyz#1",
        "frames.xyz#12",
        "lost.cif",
        "x.y.cif",
        "n#1a",
    ]
    written = write_cif_files(results(names, [n != "lost.cif" for n in names]), tmp_path / "new" / "out")
    assert written == [
        "POSCAR.cif", "POSCAR_2.cif", "POSCAR_3.cif", "frames_1.cif", "frames_12.cif", "", "x.y.cif", "n#1a.cif",
    ]  # fmt: skip
    folder = tmp_path / "new" / "out"
    assert sorted(p.name for p in folder.iterdir()) == sorted(filter(None, written))
    salt = to_structure(listed.rock_salt())
    assert Structure.from_file(folder / "POSCAR_3.cif").volume == pytest.approx(salt.volume, rel=1e-4)
    # A second writing replaces the files of the first.
    assert write_cif_files(results(names[:1], [True]), folder) == ["POSCAR.cif"]


def test_a_dropped_crystal_leaves_its_name_to_the_next(tmp_path) -> None:
    assert write_cif_files(results(["a/x.cif", "b/x.cif"], [False, True]), tmp_path) == ["", "x.cif"]


def test_the_table_of_score_has_a_row_a_metric_with_its_unit_or_the_reason() -> None:
    distances = StructureDistances(
        0.01, None, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, reasons=(("superpose_ang", "no match"),)
    )
    table = ScoreResults(0.1, None, (225, 221), 0.05, distances).table.set_index("metric")
    assert table.index.tolist() == [
        "match_loose", "rms_loose", "match_strict", "rms_strict", "space_group_equal", "volume_error",
        "energy_ev", "superpose_ang", "sinkhorn_ang", "fingerprint", "ofm", "wyckoff_mse", "wyckoff_rmse",
        "distance_overlap", "powder",
    ]  # fmt: skip
    values = table["value"].tolist()
    assert values[:6] == [1.0, 0.1, 0.0, pytest.approx(float("nan"), nan_ok=True), 0.0, 0.05]
    assert values[6] == 0.01 and np.isnan(values[7]) and values[8:] == [0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0]
    units = dict(table["unit"])
    assert [units[m] for m in ("rms_loose", "rms_strict", "match_loose", "volume_error")] == [
        "(V/n)^(1/3)", "(V/n)^(1/3)", "", "fraction",
    ]  # fmt: skip
    assert [units[m] for m in ("energy_ev", "superpose_ang", "sinkhorn_ang", "powder", "distance_overlap")] == [
        "eV/atom", "Å", "Å/atom", "", "fraction",
    ]  # fmt: skip
    notes = dict(table["note"])
    assert notes["space_group_equal"] == "Fm-3m (225) predicted, Pm-3m (221) true"
    assert (notes["rms_loose"], notes["rms_strict"]) == ("", "no match within these tolerances")
    assert notes["superpose_ang"] == "no match" and notes["energy_ev"] == "difference of potential energies"
    same = ScoreResults(0.1, 0.2, (225, 225), 0.0, distances).table.set_index("metric")
    assert same["value"]["space_group_equal"] == 1.0 and same["value"]["match_strict"] == 1.0
    assert same["note"]["rms_strict"] == ""


def test_score_compares_volumes_and_energies_an_atom_whatever_the_cells(asked) -> None:
    found = api.score(caesium_like(3.85) * (2, 1, 1), caesium_like(3.5), potential="toy")
    # Edges of 1.1: 33.1 % more volume. The toy's energies are equal.
    assert found.volume_error == pytest.approx(0.331)
    assert found.distances.energy_ev == pytest.approx(0.0) and asked[0][0] == "toy"
    assert api.score(caesium_like(3.5), caesium_like(3.85)).volume_error == pytest.approx(1 / 1.331 - 1)
    assert api.score(caesium_like(), caesium_like()).distances.energy_ev is None


def test_score_names_the_file_of_a_caution_and_refuses_disorder(tmp_path) -> None:
    mixed = Structure(np.eye(3) * 4, [{"Na": 0.5, "K": 0.5}, "Cl"], SALT_SITES)
    with pytest.raises(UserError, match=r"a structure cannot be used \(site 1 .*\); give an ordered crystal"):
        api.score(mixed, caesium_like())
    poscar = tmp_path / "POSCAR"
    poscar.write_text("Na Cl\n1\n3.5 0 0\n0 3.5 0\n0 0 3.5\n1 1\nDirect\n0 0 0\n.5 .5 .5\n")
    assert api.score(poscar, str(poscar), elements=("Na", "Cl")).cautions == ()
    assert (
        api.score(poscar, caesium_like())
        .cautions[0]
        .startswith(f"{Path(poscar)}: the elements Na Cl are those of")
    )
