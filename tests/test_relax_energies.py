"""Energies whose zero is known: elemental references, MP2020 corrections, formation energies."""

from pathlib import Path

import numpy as np
import pytest
from known_pools import perovskite, rocksalt
from mapcsp.crystals import from_structure
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.relax.corrections import mp2020_correction_ev_per_atom
from mapcsp.relax.fetch import CONTENT_HASH, default_weights_path
from mapcsp.relax.m3gnet import M3GNet
from mapcsp.relax.potential import evaluate
from mapcsp.relax.references import (
    References,
    formation_energy_ev_per_atom,
    read_references,
    write_references,
)
from mapcsp.resources import resource_path
from mapcsp.store import read_json, write_json
from pymatgen.core import Lattice, Structure

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "mp_val.parquet"
FORMATION_ENERGY_BAR_EV_PER_ATOM = 0.035
# Corrections of the paper's table 1, eV an atom of the element.
OXIDE, CHLORIDE, SULFIDE, FLUORIDE, PEROXIDE = -0.687, -0.614, -0.503, -0.462, -0.465
IRON_U = -2.256

needs_weights = pytest.mark.skipif(
    not default_weights_path().exists(), reason="the M3GNet weights are not fetched"
)


def structure(space_group, lattice, species, sites) -> Crystal:
    return from_structure(Structure.from_spacegroup(space_group, lattice, species, sites))


@pytest.mark.parametrize(
    ("crystal", "total_ev"),
    [
        (rocksalt(), CHLORIDE),
        (perovskite(), 3 * OXIDE),
        (structure(225, Lattice.cubic(4.3), ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 4 * (OXIDE + IRON_U)),
        (structure(225, Lattice.cubic(4.3), ["Fe", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 4 * SULFIDE),
        (structure(225, Lattice.cubic(5.4), ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]]), 8 * FLUORIDE),
        (structure(229, Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]]), 0.0),
        (structure(221, Lattice.cubic(2.9), ["Ni", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 0.0),
    ],
)
def test_corrections_are_those_of_the_paper(crystal, total_ev):
    assert mp2020_correction_ev_per_atom(crystal) * crystal.n_atoms == pytest.approx(total_ev, abs=2e-3)


def test_a_peroxide_is_told_from_an_oxide_by_its_bond():
    lattice = Lattice.tetragonal(3.85, 6.85)
    peroxide = structure(139, lattice, ["Ba", "O"], [[0, 0, 0], [0, 0, 0.3905]])
    assert mp2020_correction_ev_per_atom(peroxide) * peroxide.n_atoms == pytest.approx(4 * PEROXIDE, abs=2e-3)


def test_a_compound_of_a_noble_gas_has_a_correction():
    xenon = Crystal(np.eye(3) * 4.5, ("Xe", "F"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert np.isfinite(mp2020_correction_ev_per_atom(xenon))


def test_the_formation_energy_of_an_element_is_zero_in_its_reference_state():
    references = References("morse", "0", False, {"Na": -1.3, "Cl": -1.8})
    sodium = Crystal(np.eye(3) * 3.4, ("Na",), np.zeros((1, 3)))
    assert formation_energy_ev_per_atom(sodium, -1.3, references) == pytest.approx(0)
    assert formation_energy_ev_per_atom(rocksalt(), -3.4, references) == pytest.approx(-3.4 + 1.55)
    assert formation_energy_ev_per_atom(perovskite(), -8.0, references) is None


@pytest.mark.parametrize(
    "path", sorted(resource_path("tables").glob("reference_energies_*.json")), ids=lambda p: p.stem
)
def test_every_table_of_references_is_whole_and_agrees_with_the_others(path):
    table, first = read_json(path), read_json(resource_path("tables/reference_energies_m3gnet.json"))
    assert path.stem == "reference_energies_" + table["potential"].replace("-", "_")
    assert set(table["elements"]) == SUPPORTED_ELEMENTS
    assert table["needs_mp2020"] == (table["potential"] != "chgnet")
    energies = {s: e["energy_ev_per_atom"] for s, e in table["elements"].items()}
    # All learnt the same elements: they differ by their errors, except where the Materials Project's corrections are in.
    gaps = [abs(energies[s] - e["energy_ev_per_atom"]) for s, e in first["elements"].items()]
    assert np.median(gaps) < 0.05
    assert max(gaps) < 0.5


def test_the_table_of_references_covers_what_the_potential_knows():
    table = read_json(resource_path("tables/reference_energies_m3gnet.json"))
    assert table["content_hash"] == CONTENT_HASH
    assert set(table["elements"]) == SUPPORTED_ELEMENTS
    assert all(entry["status"] == "converged" for entry in table["elements"].values())
    # The Materials Project's own energies of these elements, within the potential's error.
    for symbol, energy in {
        "Fe": -8.47,
        "Cu": -4.10,
        "Mn": -9.16,
        "S": -4.14,
        "Na": -1.31,
        "W": -12.96,
    }.items():
        assert table["elements"][symbol]["energy_ev_per_atom"] == pytest.approx(energy, abs=0.05)


@needs_weights
def test_a_table_of_another_potential_is_refused(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    table = read_json(resource_path("tables/reference_energies_m3gnet.json"))
    potential = M3GNet()
    monkeypatch.setenv("MAPCSP_RESOURCES", str(tmp_path))
    assert read_references(potential) is None
    write_json(tmp_path / "tables" / "reference_energies_m3gnet.json", {**table, "content_hash": "f" * 64})
    with pytest.raises(UserError, match="mapcsp references"):
        read_references(potential)


@needs_weights
def test_references_can_be_made_again(tmp_path):
    pytest.importorskip("ase")

    class Few(M3GNet):
        def __init__(self):
            super().__init__()
            self.elements = frozenset(["Na", "Cl", "La"])

    found = read_json(write_references(Few(), tmp_path / "table.json"))["elements"]
    shipped = read_json(resource_path("tables/reference_energies_m3gnet.json"))["elements"]
    for symbol, entry in found.items():
        assert entry["energy_ev_per_atom"] == pytest.approx(shipped[symbol]["energy_ev_per_atom"], abs=1e-4)
    assert found["La"]["structure"] == "bcc"  # the potential's ground state, 15 meV below the real one


@needs_weights
@pytest.mark.skipif(not DATA.exists(), reason="the development data is not here")
def test_formation_energies_are_close_to_the_materials_projects():
    import pandas as pd

    rows = pd.read_parquet(DATA)
    rows = rows[rows.n_sites <= 12].sample(150, random_state=0)
    crystals = [
        Crystal(np.vstack(r.lattice), tuple(r.species), np.vstack(r.frac_coords)) for r in rows.itertuples()
    ]
    potential = M3GNet()
    references = read_references(potential)
    found = [
        formation_energy_ev_per_atom(c, e.energy_ev / c.n_atoms, references)
        for c, e in zip(crystals, evaluate(potential, crystals))
    ]
    error = np.abs(np.array(found) - rows.formation_energy_per_atom.to_numpy())
    assert error.mean() <= FORMATION_ENERGY_BAR_EV_PER_ATOM
