"""Distances between structures: published programs' numbers to their digits, and definitions that hold for crystals."""

from __future__ import annotations

import json
from pathlib import Path

import known_pools as known
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.crystals import neighbour_distances, to_structure
from mapcsp.errors import UserError
from mapcsp.metrics import environments, point_clouds
from mapcsp.metrics.fingerprints import fingerprint_distance, site_fingerprints
from mapcsp.metrics.structures import compare_published, compare_structures, environment_transport_ang
from mapcsp.metrics.wyckoff_sites import published_site_errors
from mapcsp.relax.backends import load_potential
from mapcsp.relax.potential import evaluate
from pymatgen.core import Structure

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "metrics"
# The references are printed in full; the programs ran on other versions of numpy and pymatgen.
EXACT = 1e-9
# A cell has 5 to 15 atoms and single precision.
ENERGY_TOLERANCE_EV = 5e-4
# One of the 17 pairs differs by 6e-4, the others by less than 1e-9: pymatgen merges its reflections otherwise today.
POWDER_TOLERANCE = 1e-3
# One of the 17 pairs differs by 3e-6, the others by rounding.
FINGERPRINT_TOLERANCE = 1e-5
INVARIANCE = 1e-5
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference values are not at hand")

FIELDS = {
    "wyckoff_rmse": "wyckoff_rmse",
    "wyckoff_mae": "wyckoff_mae",
    "sinkhorn_ang": "sinkhorn_dist",
    "chamfer_ang": "chamfer_dist",
    "hausdorff_ang": "hausdorff_dist",
    "superpose_ang": "superpose_rmsd",
    "superpose_in_order_ang": "superpose_rmsd_repo_csv_definition",
    "powder": "XRD_dist",
    "ofm": "OFM_dist",
    "rms": "rms_dist",
}


def pairs(table: str) -> list[dict]:
    path = REFERENCE / table
    return json.loads(path.read_text()) if path.exists() else []


def target_of(name: str) -> str:
    return {"GdB2_pred.cif": "GdB2_gt.cif", "SrTiO3_pred.cif": "SrTiO3_gt.cif"}.get(name, "Li3Ti3Se6O3.cif")


def known_value(value) -> float | None:
    return None if value in (None, "None", 5555, 9999) else value


def rattled(crystal, amount_ang: float = 0.05, seed: int = 1):
    return known.shaken(crystal, amount_ang, seed)


@needs_reference
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", pairs("cspbench_values.json")[::8], ids=lambda row: row["structure"])
def test_published_metrics_reproduce_the_program(row):
    folder = REFERENCE / "cspbench"
    found = compare_published(folder / row["structure"], folder / target_of(row["structure"]))
    for field, column in FIELDS.items():
        expected = known_value(row[column])
        if expected is None:
            assert getattr(found, field) is None and field in dict(found.reasons)
        else:
            tolerance = POWDER_TOLERANCE if field == "powder" else EXACT
            assert getattr(found, field) == pytest.approx(expected, abs=tolerance), field


@needs_reference
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", pairs("cspbench_values.json"), ids=lambda row: row["structure"])
def test_published_point_cloud_metrics_reproduce_all_pairs(row):
    folder = REFERENCE / "cspbench"
    true = Structure.from_file(folder / target_of(row["structure"])).cart_coords
    predicted = Structure.from_file(folder / row["structure"]).cart_coords
    found = {
        "sinkhorn_dist": point_clouds.sinkhorn_ang(true, predicted),
        "chamfer_dist": point_clouds.chamfer_ang(true, predicted),
        "hausdorff_dist": point_clouds.hausdorff_ang(true, predicted),
        "superpose_rmsd": point_clouds.superpose_nearest_ang(true, predicted),
        "superpose_rmsd_repo_csv_definition": point_clouds.superpose_in_order_ang(true, predicted),
    }
    assert found == pytest.approx({column: row[column] for column in found}, abs=EXACT)


@needs_reference
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", pairs("wyckoff_values.json"), ids=lambda row: row["target"])
def test_published_site_errors_reproduce_the_program(row):
    folder = REFERENCE / "wyckoff"
    found = published_site_errors(folder / row["predicted"], folder / row["target"])
    if row["rmsd"] is None:
        assert found is None
    else:
        assert (found.rmse, found.mae) == pytest.approx((row["rmsd"], row["mae"]), abs=EXACT)


@needs_reference
@pytest.mark.filterwarnings("ignore")
def test_published_fingerprints_reproduce_the_program():
    folder = REFERENCE / "cspbench"
    for row in pairs("cspbench_values.json")[::8]:
        structures = [
            Structure.from_file(folder / n) for n in (row["structure"], target_of(row["structure"]))
        ]
        assert fingerprint_distance(*structures) == pytest.approx(
            row["fingerPrint"], abs=FINGERPRINT_TOLERANCE
        )


@needs_reference
@pytest.mark.science
@pytest.mark.filterwarnings("ignore")
def test_published_energies_reproduce_the_program():
    try:
        potential = load_potential("m3gnet", "cpu")
    except UserError as error:
        pytest.skip(f"no M3GNet weights here: {error}")
    folder = REFERENCE / "cspbench"

    def cell_energies(crystals):
        return [found.energy_ev for found in evaluate(potential, crystals)]

    for row in pairs("cspbench_values.json")[::16]:
        found = compare_published(
            folder / row["structure"], folder / target_of(row["structure"]), cell_energies
        )
        assert found.energy_ev == pytest.approx(row["energy_distance"], abs=ENERGY_TOLERANCE_EV)


@pytest.mark.parametrize("crystal", [known.rocksalt(), known.perovskite(), known.zinc_blende_type()])
def test_a_crystal_is_no_distance_from_itself_in_another_cell(crystal):
    same = known.shaken(crystal, 0.0, 5)
    found = compare_structures(same, crystal, lambda crystals: [3.0 * c.n_atoms for c in crystals])
    for name in (
        "energy_ev",
        "superpose_ang",
        "sinkhorn_ang",
        "ofm",
        "wyckoff_mse",
        "wyckoff_rmse",
        "rms",
        "powder",
    ):
        assert getattr(found, name) == pytest.approx(0.0, abs=INVARIANCE), name
    assert found.distance_overlap == 1.0


def test_distances_do_not_depend_on_cell_origin_or_order():
    predicted = rattled(known.perovskite(3.95))
    first = compare_structures(predicted, known.perovskite())
    second = compare_structures(known.shaken(predicted, 0.0, 3), known.shaken(known.perovskite(), 0.0, 4))
    for name in ("superpose_ang", "sinkhorn_ang", "ofm", "wyckoff_rmse", "rms", "powder"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-3, abs=INVARIANCE), name


def test_a_doubled_cell_is_the_same_crystal():
    doubled = known.from_structure(to_structure(known.rocksalt()) * (2, 1, 1))
    assert environment_transport_ang(doubled, known.rocksalt()) == pytest.approx(0.0, abs=INVARIANCE)
    assert compare_structures(doubled, known.rocksalt()).wyckoff_rmse == pytest.approx(0.0, abs=INVARIANCE)


def test_energies_count_per_atom_by_default():
    found = compare_structures(known.rocksalt(), known.rocksalt(5.7), lambda crystals: [-6.0, -7.0])
    assert found.energy_ev == 0.5


def test_metrics_that_do_not_apply_are_none_with_a_reason():
    found = compare_structures(known.zinc_blende_type(), known.cesium_chloride_type())
    reasons = dict(found.reasons)
    assert found.energy_ev is None and reasons["energy_ev"] == "no potential was given"
    for name in ("superpose_ang", "wyckoff_rmse", "rms"):
        assert (getattr(found, name) is None) == (name in reasons)
    with pytest.raises(ValueError, match="different formulas"):
        compare_structures(known.rocksalt(), known.perovskite())


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.9, 1.1), seed=st.integers(0, 100))
def test_transport_of_a_scaled_crystal_is_its_change_of_neighbour_distances(scale, seed):
    a = 5.64
    found = environment_transport_ang(known.shaken(known.rocksalt(a * scale), 0.0, seed), known.rocksalt(a))
    rows = neighbour_distances(known.rocksalt(a), 24)[0]
    assert found == pytest.approx(abs(scale - 1) * np.sqrt((rows**2).mean()), abs=1e-6)


def test_neighbour_distances_of_rock_salt_are_those_of_its_shells():
    rows = neighbour_distances(known.rocksalt(5.64), 26)
    shells = 5.64 / 2 * np.repeat([1.0, np.sqrt(2), np.sqrt(3)], [6, 12, 8])
    assert np.allclose(rows, shells)


def test_superposition_finds_rotation_shift_and_scale():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(7, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = 1.7 * points @ turn.T + [1.0, -2.0, 3.0]
    assert point_clouds.superpose_in_order_ang(moved, points) == pytest.approx(0.0, abs=1e-12)
    scale, rotation, _ = point_clouds.best_superposition(points, moved, with_scale=True)
    assert scale == pytest.approx(1.7) and np.allclose(rotation, turn)
    assert point_clouds.superpose_in_order_ang(moved, points[:-1]) is None
    assert point_clouds.superpose_nearest_ang(points, points + 1e3) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("crystal", [known.rocksalt(), known.shaken(known.perovskite(), 0.3, 2)])
def test_voronoi_neighbours_are_those_of_pymatgen(crystal):
    from pymatgen.analysis.local_env import VoronoiNN

    structure = to_structure(crystal)
    finder = VoronoiNN(allow_pathological=True)
    supercell = structure * [3, 3, 3]
    for i, faces in enumerate(environments.voronoi_neighbours(structure)):
        centre = supercell[27 * i]
        expected = sorted(
            (float(np.linalg.norm(n["site"].coords - centre.coords)), n["weight"])
            for n in finder.get_nn_info(supercell, 27 * i)
        )
        np.testing.assert_allclose(sorted((d, w) for _, d, w in faces), expected, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_the_fingerprint_of_rock_salt_is_octahedral_and_no_other_motif():
    fingerprints = site_fingerprints(to_structure(known.rocksalt()))
    np.testing.assert_allclose(fingerprints[0], fingerprints[1], atol=1e-6)
    # Coordination 6 is certain, and of its motifs (hexagonal, octahedral, pentagonal pyramid) one is perfect.
    assert np.sort(fingerprints[0])[-2:] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert np.sort(fingerprints[0])[-3] < 0.51
    other = to_structure(known.cesium_chloride_type())
    assert fingerprint_distance(to_structure(known.rocksalt()), other) > 2.0


def test_orbital_vectors_hold_the_valence_subshells():
    places = {
        symbol: np.flatnonzero(environments.orbital_vector(symbol)).tolist()
        for symbol in ("O", "Ti", "Se", "Gd")
    }
    # s2 is place 1, p4 place 5, d2 place 9, d10 place 17, d1 place 8, f7 place 24.
    assert places == {"O": [1, 5], "Ti": [1, 9], "Se": [1, 5, 17], "Gd": [1, 8, 24]}
