"""The order of polymorphs: which pairs count, what a protocol compares, and what noise leaves."""

import json

import numpy as np
import pandas as pd
import pytest
from mapcsp.crystals import from_structure
from mapcsp.metrics.match import wilson_interval
from mapcsp.training import evaluate_potential
from mapcsp.training.evaluate_potential import (
    Pair,
    Polymorph,
    choose_formulas,
    noise_figures,
    order_figures,
    pairs_of,
    protocol_figures,
    run_evaluate_potential,
)
from pymatgen.core import Lattice, Structure

EMT = "ase:ase.calculators.emt:EMT"


def polymorph(name, formula, dft, found, relaxed=None, table="t") -> Polymorph:
    return Polymorph(name, formula, table, dft, "converged", found, None, relaxed, None)


def test_pairs_are_of_one_formula_in_one_table_with_two_energies_and_a_known_order():
    polymorphs = [
        polymorph("a", "NaCl", -2.0, -3.0),
        polymorph("b", "NaCl", -1.9, -3.2, relaxed=-3.3),
        polymorph("c", "NaCl", -1.9, None, relaxed=-3.1),
        polymorph("d", "MgO", -3.0, -6.0),
        polymorph("e", "NaCl", -1.0, -3.0, table="other"),
    ]
    (pair,) = pairs_of(polymorphs, "dft_geometry")
    assert (pair.formula, pair.right) == ("NaCl", False)
    assert (pair.true_ev_per_atom, pair.found_ev_per_atom) == (pytest.approx(-0.1), pytest.approx(0.2))
    assert pairs_of(polymorphs, "relaxed") == []  # b and c are equal by DFT


def test_an_order_is_the_share_of_pairs_in_it_with_wilsons_interval():
    pairs = [Pair("A", 0.1, 0.2), Pair("A", -0.1, -0.01), Pair("B", 0.1, -0.2), Pair("B", 0.1, 0.0)]
    figures = order_figures(pairs)
    assert (figures["pairs"], figures["formulas"], figures["right"], figures["share"]) == (4, 2, 2, 0.5)
    assert figures["interval"] == pytest.approx(wilson_interval(2, 4), abs=1e-4)
    assert order_figures([]) == {"pairs": 0}


def test_a_protocol_counts_pairs_by_their_gap_the_two_lowest_and_each_formula_once():
    polymorphs = [
        polymorph("a", "A", 0.000, 0.00),
        polymorph("b", "A", 0.015, 0.05),
        polymorph("c", "A", 0.030, 0.04),
        polymorph("d", "B", 0.000, 0.01),
        polymorph("e", "B", 0.001, 0.00),
    ]
    figures = protocol_figures(polymorphs, "dft_geometry")
    assert (figures["all"]["right"], figures["all"]["pairs"]) == (2, 4)
    assert (figures["apart_by_20_mev"]["right"], figures["apart_by_20_mev"]["pairs"]) == (1, 1)
    assert (figures["two_lowest"]["right"], figures["two_lowest"]["pairs"]) == (1, 2)
    assert figures["mean_over_formulas"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-4)
    assert protocol_figures(polymorphs, "relaxed")["mean_over_formulas"] is None


def test_errors_larger_than_the_differences_leave_half_of_the_order():
    rng = np.random.default_rng(0)
    true = rng.normal(scale=0.02, size=400)
    exact = noise_figures([Pair("A", t, t) for t in true])
    assert (exact["mae_ev_per_atom"], exact["expected_share"], exact["closer_than_mae"]) == (0, 1, 0)
    lost = noise_figures([Pair("A", t, t + e) for t, e in zip(true, rng.normal(scale=2, size=400))])
    assert lost["expected_share"] == pytest.approx(0.5, abs=0.02)
    assert lost["closer_than_mae"] == 400
    (one,) = (noise_figures([Pair("A", 0.01, -0.02)]),)
    # Its error, -0.03, makes the pair wrong with one sign and right with the other.
    assert (one["mae_ev_per_atom"], one["expected_share"]) == (0.03, 0.5)


@pytest.fixture
def table(tmp_path):
    """Polymorphs of copper and gold, the copper-gold alloy once, and a large cell."""
    fcc = Structure.from_spacegroup(225, Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]]).get_primitive_structure()
    bcc = Structure.from_spacegroup(229, Lattice.cubic(2.87), ["Cu"], [[0, 0, 0]]).get_primitive_structure()
    diamond = Structure.from_spacegroup(
        227, Lattice.cubic(5.4), ["Cu"], [[0, 0, 0]]
    ).get_primitive_structure()
    gold = [s.copy() for s in (fcc, bcc)]
    for structure in gold:
        structure.replace_species({"Cu": "Au"})
        structure.scale_lattice(structure.volume * 1.44)
    alloy = Structure.from_spacegroup(221, Lattice.cubic(3.0), ["Cu", "Au"], [[0, 0, 0], [0.5] * 3])
    large = fcc * (2, 2, 2)
    named = {
        "cu-fcc": (fcc, 0.0),
        "cu-bcc": (bcc, 0.04),
        "cu-diamond": (diamond, 1.0),
        "au-fcc": (gold[0], 0.0),
    }
    named |= {"au-bcc": (gold[1], 0.02), "cuau": (alloy, -0.05), "cu-large": (large, 0.0)}
    rows = []
    for name, (structure, energy) in named.items():
        crystal = from_structure(structure)
        rows.append(
            {
                "material_id": name,
                "formula": structure.composition.reduced_formula,
                "n_sites": crystal.n_atoms,
                "lattice": crystal.lattice_ang.tolist(),
                "species": list(crystal.species),
                "frac_coords": crystal.frac_coords.tolist(),
                "formation_energy_per_atom": energy,
            }
        )
    path = tmp_path / "metals.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_formulas_with_several_small_crystals_are_drawn(table):
    chosen = choose_formulas(table, frozenset({"Cu", "Au"}), 6, None, seed=1)
    ids = sorted([row.material_id for row in rows] for rows in chosen)
    assert ids == [["au-bcc", "au-fcc"], ["cu-bcc", "cu-diamond", "cu-fcc"]]
    (first,) = choose_formulas(table, frozenset({"Cu", "Au"}), 6, 1, seed=1)
    assert [row.material_id for row in first] == [row.material_id for row in chosen[0]]
    assert choose_formulas(table, frozenset({"Na"}), 6, None, seed=1) == []


def test_the_command_orders_metals_and_finds_finished_parts_again(table, tmp_path, monkeypatch):
    run_evaluate_potential([table], EMT, tmp_path / "work", tmp_path / "a.json", max_atoms=6)
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["crystals"] == 5 and figures["relaxations"] == {"converged": 5}
    single = figures["order"]["metals"]["dft_geometry"]
    # Close packing lies lowest in EMT, and diamond far above.
    assert (single["all"]["right"], single["all"]["pairs"]) == (4, 4)
    assert figures["order"]["all"]["relaxed"]["all"]["right"] == 4
    assert figures["order"]["all"]["relaxed_corrected"]["all"] == {"pairs": 0}  # EMT has no references

    def never(*_):
        raise AssertionError("relaxed again")

    monkeypatch.setattr(evaluate_potential, "relax_crystals", never)
    run_evaluate_potential([table], EMT, tmp_path / "work", tmp_path / "b.json", max_atoms=6)
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
