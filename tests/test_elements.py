"""The element table: complete, read without heavy packages, and equal to its sources."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from mapcsp import elements
from mapcsp.elements import (
    FEATURE_NAMES,
    SUPPORTED_ELEMENTS,
    SYMBOLS,
    atomic_number,
    covalent_radius_ang,
    element_features,
    element_table,
    feature_names,
    is_metal,
    scaled_element_features,
)
from mapcsp.errors import StoreError, UnsupportedElementError


def test_the_table_covers_hydrogen_to_plutonium_in_order():
    assert len(SYMBOLS) == 94
    assert [atomic_number(s) for s in SYMBOLS] == list(range(1, 95))
    assert (SYMBOLS[0], SYMBOLS[25], SYMBOLS[93]) == ("H", "Fe", "Pu")
    column = FEATURE_NAMES.index("atomic_number")
    assert element_features(SYMBOLS)[:, column].tolist() == list(range(1, 95))


def test_the_supported_elements_are_the_89_of_m3gnet():
    assert len(SUPPORTED_ELEMENTS) == 89
    assert set(SYMBOLS) - SUPPORTED_ELEMENTS == {"Po", "At", "Rn", "Fr", "Ra"}


def test_features_of_iron_are_the_published_ones():
    iron = dict(zip(feature_names(), element_features(["Fe"])[0]))
    assert iron == {
        "mendeleev_number": 59,
        "unpaired_electrons": 4,
        "ionization_energy_ev": 7.90247,
        "covalent_radius_ang": 1.42,
        "heat_of_formation_kj_per_mol": 415.5,
        "dipole_polarizability_bohr3": 62.0,
        "average_ionic_radius_ang": 0.8525,
        "group": 8,
        "row": 4,
        "electronegativity_pauling": 1.83,
        "atomic_number": 26,
    }


@pytest.mark.parametrize(
    ("symbol", "radius_ang"), [("H", 0.31), ("O", 0.66), ("Na", 1.66), ("Mn", 1.5), ("Pu", 1.87)]
)
def test_covalent_radii_are_those_of_cordero_2008(symbol, radius_ang):
    assert covalent_radius_ang(symbol) == radius_ang


@pytest.mark.parametrize("symbol", ["Li", "Al", "Fe", "Sn", "Pb", "Bi", "La", "U"])
def test_metals_are_metals(symbol):
    assert is_metal(symbol)


@pytest.mark.parametrize("symbol", ["H", "B", "Si", "Ge", "As", "Sb", "Te", "O", "Xe"])
def test_metalloids_and_nonmetals_are_no_metals(symbol):
    assert not is_metal(symbol)


def test_filled_values_are_few_and_named():
    table = element_table()
    filled = {(s, f) for s, features in zip(SYMBOLS, table.filled) for f in features}
    expected = {(s, "average_ionic_radius_ang") for s in ("H", "He", "Ne", "Ar", "Kr", "Rn")}
    expected |= {(s, "heat_of_formation_kj_per_mol") for s in ("Pm", "Po", "At", "Fr")}
    expected |= {(s, "electronegativity_pauling") for s in ("He", "Ne", "Ar")}
    assert filled == expected


def test_scaled_features_have_mean_zero_and_spread_one_over_the_table():
    scaled = scaled_element_features(SYMBOLS)
    assert scaled.shape == (94, 11)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-12)


def test_features_of_no_atoms_are_an_empty_array():
    assert element_features([]).shape == (0, 11)


@pytest.mark.parametrize("symbol", ["Xx", "Am", "D", "fe", "", "Fe2+"])
def test_what_is_no_element_of_the_table_is_refused_by_name(symbol):
    with pytest.raises(UnsupportedElementError, match="not an element from H to Pu"):
        element_features(["O", symbol])


def test_the_table_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match="read-only"):
        element_table().features[0, 0] = 1


def test_a_damaged_table_is_named(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    damaged = tmp_path / "tables" / "element_features.csv"
    damaged.write_text("symbol,group\nH,1\n")
    monkeypatch.setattr(elements, "resource_path", lambda name: tmp_path / name)
    element_table.cache_clear()
    try:
        with pytest.raises(StoreError, match=f"{damaged} is damaged"):
            element_table()
    finally:
        element_table.cache_clear()


def test_reading_the_table_imports_no_heavy_package():
    code = (
        "import sys, mapcsp.elements as e; e.scaled_element_features(['O']); "
        "print([m for m in ('pandas', 'pymatgen', 'mendeleev', 'torch', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
