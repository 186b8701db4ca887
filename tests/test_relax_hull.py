"""Energies above the hull: from a table, from the Materials Project's interface, from nowhere."""

from types import SimpleNamespace

import pandas as pd
import pytest
from mapcsp.errors import UserError
from mapcsp.relax.hull import (
    KEY_VARIABLE,
    MaterialsProject,
    PhaseTable,
    chemical_systems,
    choose_phases,
    energies_above_hull,
)

# Na-Cl with NaCl at -2 and Na3Cl above the tie line from Na to NaCl (which is at -1 there).
ROWS = [("NaCl", -2.0), ("Na3Cl", -0.9), ("NaCl", -1.9), ("MgO", -3.0), ("Na", 0.3)]


def phase_file(folder, rows=ROWS, name="phases.csv"):
    frame = pd.DataFrame(rows, columns=["formula", "formation_energy_per_atom"])
    path = folder / name
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


class Client:
    """The part of `mp_api.client.MPRester` that is used, over ROWS; counts its searches."""

    def __init__(self):
        self.asked = []
        self.materials = SimpleNamespace(thermo=SimpleNamespace(search=self.search))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def search(self, chemsys, thermo_types, fields):
        self.asked.append((tuple(chemsys), tuple(thermo_types)))
        assert set(fields) == {"formula_pretty", "formation_energy_per_atom"}
        names = {"NaCl": "Cl-Na", "Na3Cl": "Cl-Na", "MgO": "Mg-O", "Na": "Na"}
        found = [
            SimpleNamespace(formula_pretty=f, formation_energy_per_atom=e)
            for f, e in ROWS
            if names[f] in chemsys
        ]
        return [*found, SimpleNamespace(formula_pretty="Cl", formation_energy_per_atom=None)]


@pytest.mark.parametrize("name", ["phases.csv", "phases.parquet"])
def test_energies_are_measured_from_the_tie_line(tmp_path, name):
    table = PhaseTable(phase_file(tmp_path, name=name))
    assert energies_above_hull(table, "NaCl", [-2.0, -1.5, None, -2.1]) == pytest.approx([0, 0.5, None, -0.1])
    # Na3Cl decomposes into NaCl and 2 Na: half its atoms, at -2, are NaCl.
    assert energies_above_hull(table, "Na3Cl", [-0.9]) == pytest.approx([0.1])


def test_a_system_without_compounds_is_measured_from_the_elements(tmp_path):
    assert energies_above_hull(PhaseTable(phase_file(tmp_path)), "KCl", [-2.2]) == pytest.approx([-2.2])


@pytest.mark.parametrize(
    ("rows", "words"),
    [([("NaCl)", -2.0)], "row 2"), ([("NaCl", -2.0), ("NaCl", float("nan"))], "row 3")],
)
def test_a_bad_row_of_a_table_is_named(tmp_path, rows, words):
    with pytest.raises(UserError, match=words):
        PhaseTable(phase_file(tmp_path, rows))


def test_a_missing_table_or_column_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        PhaseTable(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("formula,energy\nNaCl,-2\n")
    with pytest.raises(UserError, match="formation_energy_per_atom"):
        PhaseTable(tmp_path / "other.csv")


def test_the_materials_project_is_asked_once_and_then_read_from_files(tmp_path):
    client = Client()
    source = MaterialsProject(tmp_path, lambda: client)
    first = source.phases(frozenset({"Na", "Cl"}))
    assert [(p.formula, p.formation_energy_ev_per_atom) for p in first] == [
        ("Na", 0.3),
        ("Na3Cl", -0.9),
        ("NaCl", -2.0),
        ("NaCl", -1.9),
    ]
    assert client.asked == [(("Cl", "Na", "Cl-Na"), ("GGA_GGA+U",))]

    def no_network():
        raise OSError("no network")

    assert MaterialsProject(tmp_path, no_network).phases(frozenset({"Na", "Cl"})) == first
    with pytest.raises(OSError, match="no network"):
        MaterialsProject(tmp_path, no_network).phases(frozenset({"Mg", "O"}))
    assert energies_above_hull(source, "NaCl", [-1.5]) == pytest.approx([0.5])


def test_all_parts_of_a_chemical_system_are_asked_for():
    assert chemical_systems(frozenset({"Na", "Cl", "O"})) == [
        "Cl",
        "Na",
        "Cl-Na",
        "O",
        "Cl-O",
        "Na-O",
        "Cl-Na-O",
    ]


def test_without_table_and_key_it_is_said_that_there_is_no_hull(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    source, words = choose_phases("", tmp_path)
    assert source is None
    assert "relax.hull_table" in words and KEY_VARIABLE in words
    monkeypatch.setenv(KEY_VARIABLE, "x")
    assert choose_phases("", None)[0] is None
    source, words = choose_phases(str(phase_file(tmp_path)), tmp_path)
    assert isinstance(source, PhaseTable)
    assert "phases.csv" in words
