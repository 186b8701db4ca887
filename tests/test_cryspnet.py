"""CRYSPNet: predictors as matminer's, conventional cells of known crystals, ensembles in files, the shipped model."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.cryspnet.conventional import (
    BRAVAIS_LATTICES,
    bravais_cell,
    complete_cell,
    conventional_cell,
    conventional_crystal,
    free_values,
    hexagonal_from_rhombohedral,
    possible_cell,
    rhombohedral_from_hexagonal,
)
from mapcsp.cryspnet.features import FEATURE_NAMES, cell_features, composition_features
from mapcsp.cryspnet.networks import Ensemble, Perceptron, read_ensembles, write_ensembles
from mapcsp.cryspnet.predict import main, predict_cryspnet
from mapcsp.crystals import from_structure
from mapcsp.errors import StoreError, UnsupportedElementError, UserError
from mapcsp.symmetry.cells import cell_from_lattice, cell_volume_ang3, lattice_from_cell

# A busy machine must fail no test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
ANG, DEG = 2e-3, 2e-2
amounts = st.dictionaries(
    st.sampled_from(["Li", "O", "Fe", "Si", "Ce", "Au", "Cl"]), st.integers(1, 9), min_size=1
)

# matminer 0.10.1, its featurizers with their defaults (IonProperty fast).
MATMINER = {
    "avg_dev CovalentRadius": (32.32653061, 53.52, 26.4, 54.0),
    "mean MeltingT": (807.45714286, 631.08, 1432.108, 819.46),
    "range MendeleevNumber": (32.0, 79.0, 63.0, 61.0),
    "maximum GSvolume_pa": (10.73, 54.23, 37.24, 115.765),
    "5-norm": (0.59628967, 0.60098442, 0.46090632, 0.57434918),
    "frac d valence electrons": (0.375, 0.08333333, 0.61764706, 0.38461538),
    "compound possible": (0.0, 1.0, 1.0, 0.0),
    "max ionic char": (0.47692216, 0.78775733, 0.14109761, 0.53495681),
    "avg ionic char": (0.11679726, 0.16919817, 0.02257562, 0.1337392),
    "band center": (5.76640354, 5.31819923, 4.24613847, 3.54817443),
}
COMPOSITIONS = (
    {"Fe": 3, "O": 4},
    {"Sr": 1, "Ti": 1, "O": 3},
    {"Ce": 1, "Cu": 2, "Si": 2},
    {"Cs": 1, "Au": 1},
)


@pytest.mark.parametrize("name", MATMINER)
def test_predictors_are_those_of_matminer(name):
    found = [composition_features(c)[FEATURE_NAMES.index(name)] for c in COMPOSITIONS]
    assert found == pytest.approx(MATMINER[name], abs=1e-7)


def test_there_are_228_predictors_and_none_is_a_mode():
    assert (
        len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) == len(composition_features({"Na": 1, "Cl": 1})) == 228
    )
    assert not any("mode" in name for name in FEATURE_NAMES)


@given(amounts, st.integers(2, 5))
def test_predictors_do_not_depend_on_the_formula_unit(composition, factor):
    scaled = {e: n * factor for e, n in composition.items()}
    assert composition_features(scaled) == pytest.approx(composition_features(composition), abs=1e-9)


def test_the_cell_adds_its_atoms_and_the_statistics_of_their_counts():
    assert cell_features({"Ti": 1, "O": 2}, z=2).tolist() == [6, 4, 2, 3, 1]


def test_a_composition_outside_the_table_or_empty_is_refused():
    with pytest.raises(UnsupportedElementError, match="Am"):
        composition_features({"Am": 1})
    with pytest.raises(ValueError, match="positive amounts"):
        composition_features({})


# Published structures, typed by hand: space group, conventional cell, sites (pymatgen's standard setting), expected
# Bravais lattice and free parameters.
KNOWN = {
    "NaCl": ("Fm-3m", (5.64,) * 3 + (90,) * 3, {"Na": (0, 0, 0), "Cl": (0.5, 0.5, 0.5)}, "cF", (5.64,), 8),
    "W": ("Im-3m", (3.165,) * 3 + (90,) * 3, {"W": (0, 0, 0)}, "cI", (3.165,), 2),
    "CsCl": ("Pm-3m", (4.12,) * 3 + (90,) * 3, {"Cs": (0, 0, 0), "Cl": (0.5, 0.5, 0.5)}, "cP", (4.12,), 2),
    "Mg": ("P6_3/mmc", (3.21, 3.21, 5.21, 90, 90, 120), {"Mg": (1 / 3, 2 / 3, 0.25)}, "hP", (3.21, 5.21), 2),
    # Calcite, 4.990 and 17.06 Å in hexagonal axes, is listed as 6.375 Å and 46.08 degrees in rhombohedral ones.
    "CaCO3": (
        "R-3c",
        (4.99, 4.99, 17.06, 90, 90, 120),
        {"Ca": (0, 0, 0), "C": (0, 0, 0.25), "O": (0.2568, 0, 0.25)},
        "hR",
        (6.375, 46.08),
        30,
    ),
    "In": ("I4/mmm", (3.252, 3.252, 4.946, 90, 90, 90), {"In": (0, 0, 0)}, "tI", (3.252, 4.946), 2),
    "TiO2": (
        "P4_2/mnm",
        (4.594, 4.594, 2.959, 90, 90, 90),
        {"Ti": (0, 0, 0), "O": (0.305, 0.305, 0)},
        "tP",
        (4.594, 2.959),
        6,
    ),
    "made-up KF": (
        "Fmmm",
        (5.0, 6.0, 7.0, 90, 90, 90),
        {"K": (0, 0, 0), "F": (0, 0, 0.3)},
        "oF",
        (5, 6, 7),
        12,
    ),
    # No axis of Immm differs from the others, so they ascend.
    "MoPt2": (
        "Immm",
        (2.748, 8.238, 3.915, 90, 90, 90),
        {"Mo": (0, 0, 0), "Pt": (0, 0.353, 0)},
        "oI",
        (2.748, 3.915, 8.238),
        6,
    ),
    "U": (
        "Cmcm",
        (2.854, 5.869, 4.955, 90, 90, 90),
        {"U": (0, 0.1025, 0.25)},
        "oS",
        (2.854, 5.869, 4.955),
        4,
    ),
    # Orthorhombic BaTiO3 is A-centred; with the centred face normal to c its axes turn.
    "BaTiO3": (
        "Amm2",
        (3.9828, 5.6745, 5.6916, 90, 90, 90),
        {"Ba": (0, 0, 0), "Ti": (0.5, 0, 0.517), "O1": (0, 0, 0.489), "O2": (0.5, 0.253, 0.2343)},
        "oS",
        (5.6745, 5.6916, 3.9828),
        10,
    ),
    "FeB": (
        "Pnma",
        (5.506, 2.952, 4.061, 90, 90, 90),
        {"Fe": (0.18, 0.25, 0.125), "B": (0.036, 0.25, 0.61)},
        "oP",
        (5.506, 2.952, 4.061),
        8,
    ),
    "AlCl3": (
        "C2/m",
        (5.914, 10.234, 6.148, 90, 108.25, 90),
        {"Al": (0, 0.1662, 0), "Cl1": (0.2147, 0, 0.2263), "Cl2": (0.2518, 0.1793, 0.219)},
        "mS",
        (5.914, 10.234, 6.148, 108.25),
        16,
    ),
    "ZrO2": (
        "P2_1/c",
        (5.15, 5.212, 5.317, 90, 99.23, 90),
        {"Zr": (0.2754, 0.0395, 0.2083), "O1": (0.07, 0.3317, 0.3447), "O2": (0.4496, 0.7569, 0.4792)},
        "mP",
        (5.15, 5.212, 5.317, 99.23),
        12,
    ),
    "triclinic": (
        "P-1",
        (3.9, 4.6, 5.8, 81, 84, 76),
        {"Na": (0, 0, 0), "Cl": (0.31, 0.42, 0.27)},
        "aP",
        (3.9, 4.6, 5.8, 81, 84, 76),
        3,
    ),
}


def known_primitive(name):
    """The crystal in a skewed primitive cell, as no table would print it."""
    from pymatgen.core import Lattice, Structure

    symbol, cell, sites, *_ = KNOWN[name]
    species = [s.rstrip("12") for s in sites]
    whole = Structure.from_spacegroup(symbol, Lattice.from_parameters(*cell), species, list(sites.values()))
    primitive = whole.get_primitive_structure()
    primitive.make_supercell([[1, 1, 0], [0, 1, 1], [0, 0, 1]], to_unit_cell=True)
    return from_structure(primitive), len(whole)


@pytest.mark.parametrize("name", KNOWN)
def test_the_conventional_cell_of_a_known_crystal_is_the_published_one(name):
    crystal, n_atoms = known_primitive(name)
    *_, bravais, values, expected_atoms = KNOWN[name]
    assert n_atoms == expected_atoms
    found = conventional_cell(crystal, 0.01)
    assert found.bravais == bravais
    assert free_values(bravais, found.cell) == pytest.approx(values, abs=ANG if bravais != "hR" else DEG)
    assert complete_cell(bravais, free_values(bravais, found.cell)) == pytest.approx(found.cell)
    whole = conventional_crystal(crystal, 0.01)
    assert whole.n_atoms == expected_atoms
    assert whole.volume_ang3 / whole.n_atoms == pytest.approx(crystal.volume_ang3 / crystal.n_atoms, rel=1e-4)


def test_every_bravais_lattice_has_a_known_crystal():
    assert {entry[3] for entry in KNOWN.values()} == set(BRAVAIS_LATTICES)


@given(st.floats(2, 20), st.floats(20, 110))
def test_rhombohedral_and_hexagonal_axes_are_inverse(a_ang, alpha_deg):
    hexagonal = hexagonal_from_rhombohedral(a_ang, alpha_deg)
    assert rhombohedral_from_hexagonal(*hexagonal) == pytest.approx((a_ang, alpha_deg))
    volume = cell_volume_ang3(np.array([a_ang] * 3 + [alpha_deg] * 3))
    in_hexagonal = cell_volume_ang3(np.array([hexagonal[0], hexagonal[0], hexagonal[1], 90.0, 90.0, 120.0]))
    assert in_hexagonal == pytest.approx(3 * volume, rel=1e-6)


@given(
    st.sampled_from([14, 12]),
    st.floats(3, 9),
    st.floats(3, 9),
    st.floats(91, 119),
    st.integers(-3, 3),
    st.booleans(),
)
def test_a_monoclinic_lattice_has_one_cell_whatever_axes_name_it(number, a, c, beta, shift, along_a):
    cell = np.array([a, 5.0, c, 90.0, beta, 90.0])
    lattice = lattice_from_cell(cell)
    # With C centring (a + b) / 2 only even multiples of c may be added to a.
    if along_a:
        lattice[2] += shift * lattice[0]
    else:
        lattice[0] += (2 if number == 12 else 1) * shift * lattice[2]
    first, second = bravais_cell(number, cell), bravais_cell(number, cell_from_lattice(lattice))
    assert second.cell == pytest.approx(first.cell, abs=1e-4)
    assert cell_volume_ang3(first.cell) == pytest.approx(cell_volume_ang3(cell), rel=1e-6)
    assert first.cell[4] >= 90 - 1e-9


@given(st.lists(st.floats(20, 160), min_size=3, max_size=3))
def test_predicted_angles_always_give_a_cell(angles):
    cell = possible_cell(np.array([4.0, 5.0, 6.0, *angles]))
    assert cell_volume_ang3(cell) > 1.0
    assert cell[:3].tolist() == [4, 5, 6]


def toy_ensemble(seed=0):
    generator = np.random.default_rng(seed)
    member = Perceptron(
        (generator.normal(size=(4, 3)), generator.normal(size=(2, 4))),
        (generator.normal(size=4), generator.normal(size=2)),
    )
    none = np.zeros(0)
    return Ensemble(
        "classes",
        ("cF", "cP"),
        np.array([0, 5, 227]),
        np.zeros(3),
        np.ones(3),
        (member, member),
        none,
        none,
        none,
        none,
    )


def test_ensembles_come_back_from_their_file_within_half_precision(tmp_path):
    predictors = np.random.default_rng(1).normal(size=(6, 228))
    write_ensembles(tmp_path / "a.safetensors", {"x": toy_ensemble()})
    write_ensembles(tmp_path / "b.safetensors", {"x": toy_ensemble()})
    found = read_ensembles(tmp_path / "a.safetensors")["x"]
    assert found.classes == ("cF", "cP") and len(found.members) == 2
    assert found.probabilities(predictors) == pytest.approx(
        toy_ensemble().probabilities(predictors), abs=5e-3
    )
    assert found.probabilities(predictors).sum(1) == pytest.approx(np.ones(6))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_weight_file_of_something_else_is_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(StoreError, match=r"w\.safetensors"):
        read_ensembles(tmp_path / "w.safetensors")


def test_voting_is_the_mean_of_the_members_probabilities():
    one, two = toy_ensemble(1), toy_ensemble(2)
    both = replace(one, members=(one.members[0], two.members[0]))
    predictors = np.random.default_rng(1).normal(size=(6, 228))
    mean = (one.probabilities(predictors) + two.probabilities(predictors)) / 2
    assert both.probabilities(predictors) == pytest.approx(mean)


def test_the_shipped_model_knows_rock_salt_and_ranks_with_probabilities():
    (found,) = predict_cryspnet([{"K": 1, "Cl": 1}], top_bravais=14, top_space_groups=68)
    assert (found.bravais[0].bravais, found.space_groups[0][0]) == ("cF", 225)
    assert found.bravais[0].cell[0] == pytest.approx(6.3, rel=0.15)
    assert found.bravais[0].cell[3:].tolist() == [90, 90, 90]
    assert sum(b.probability for b in found.bravais) == pytest.approx(1, abs=1e-4)
    assert sum(p for _, p in found.space_groups) == pytest.approx(1, abs=1e-4)


@settings(max_examples=20)
@given(amounts, st.sampled_from(["all", "metals", "oxides"]), st.integers(1, 3))
def test_every_prediction_has_a_cell_of_its_lattice(composition, data_set, z):
    for given_z in (None, [z]):
        (found,) = predict_cryspnet([composition], data_set, top_bravais=3, z=given_z)
        assert len(found.bravais) == 3
        for lattice in found.bravais:
            again = complete_cell(lattice.bravais, free_values(lattice.bravais, lattice.cell))
            assert again == pytest.approx(lattice.cell)
            assert cell_volume_ang3(lattice.cell) > 5


def test_a_list_gives_the_same_as_its_formulas_one_by_one():
    formulas = list(COMPOSITIONS)
    together = predict_cryspnet(formulas)
    for composition, found in zip(formulas, together):
        (alone,) = predict_cryspnet([composition])
        assert [b.bravais for b in alone.bravais] == [b.bravais for b in found.bravais]
        assert alone.bravais[0].cell == pytest.approx(found.bravais[0].cell)


def test_the_command_writes_a_row_for_each_lattice_and_space_group(tmp_path):
    (tmp_path / "in.csv").write_text("formula\nKCl\nSrTiO3\n")
    arguments = [
        str(tmp_path / "in.csv"),
        "-o",
        str(tmp_path / "out.csv"),
        "--top-bravais",
        "1",
        "--top-space-groups",
        "2",
    ]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [r["formula"] for r in rows] == ["KCl", "KCl", "SrTiO3", "SrTiO3"]
    assert (rows[0]["bravais"], rows[0]["space_group"]) == ("cF", "225")


def test_the_command_names_the_row_that_is_no_formula(tmp_path):
    (tmp_path / "in.csv").write_text("formula\nKCl\nXq2\n")
    with pytest.raises(UserError, match="row 3"):
        CliRunner().invoke(main, [str(tmp_path / "in.csv"), "-o", "x.csv"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("number", "cell"), [(71, (8, 3, 4)), (65, (8, 3, 4)), (61, (8, 3, 4)), (62, (8, 3, 4))]
)
def test_orthorhombic_axes_ascend_only_where_symmetry_leaves_their_order_open(number, cell):
    expected = {71: [3, 4, 8], 65: [3, 8, 4], 61: [3, 4, 8], 62: [8, 3, 4]}[number]
    assert bravais_cell(number, np.array([*cell, 90, 90, 90], dtype=float)).cell[:3].tolist() == expected
