"""A limit is not an answer: what is not tried keeps its probability and is said, and a raised limit only adds."""

from __future__ import annotations

import numpy as np
import pytest
from mapcsp.api.formulas import formula_entries
from mapcsp.api.predictions import symmetry
from mapcsp.errors import UserError
from mapcsp.formulas.intake import reading_notes
from mapcsp.records import SymmetryPrediction
from mapcsp.resources import resource_path
from mapcsp.settings import IntakeSettings, SymmetrySettings, parse_settings
from mapcsp.symmetry.cell_sizes import gather_counts, joined_with_network, z_probabilities
from mapcsp.symmetry.feasible import can_hold, least_z
from mapcsp.symmetry.model import SymmetryModel, load_model
from mapcsp.symmetry.no_larger import best_of_no_larger
from mapcsp.symmetry.predict import predict_symmetry
from mapcsp.untried import Untried, UntriedCell

FORMULAS = (
    "SiO2",
    "NaCl",
    "CaTiO3",
    "LiFePO4",
    "MgAl2O4",
    "Al2O3",
    "GaAs",
    "Bi2Te3",
    "ZrSiO4",
    "Na3N",
    "KNO3",
)


@pytest.fixture(scope="module")
def model() -> SymmetryModel:
    return load_model(resource_path("models/symmetry"))


def predicted(formula: str, model: SymmetryModel, max_atoms: int = 12, **settings) -> SymmetryPrediction:
    (entry,) = formula_entries(formula, settings=IntakeSettings(max_atoms=max_atoms))
    return predict_symmetry(entry, SymmetrySettings(**settings), model)


def contents(found: SymmetryPrediction) -> tuple[set, set, set]:
    labels = {(p.z, p.label.key) for p in found.labels}
    return labels, {n for n, _ in found.space_groups}, {z for z, _ in found.z_prob}


@pytest.mark.parametrize("max_atoms", [12, 24])
def test_olivine_is_told_that_its_cell_was_not_tried(max_atoms, model) -> None:
    found = predicted("LiFePO4", model, max_atoms)
    assert f"z = 4 (28 atoms) not tried: most {max_atoms}" in found.untried.text
    four = next(c for c in found.untried.cells if c.z == 4)
    assert (four.n_atoms, four.limit) == (28, f"most {max_atoms}")
    assert 0.4 < four.probability < found.untried.probability < 1
    # The first answer cannot be more probable than all that was tried.
    first = symmetry("LiFePO4", settings={"intake": {"max_atoms": max_atoms}}).table.probability.max()
    assert first < 1 - found.untried.probability < 0.4


def test_probabilities_of_labels_and_of_what_was_not_tried_sum_to_one() -> None:
    results = symmetry(["SiO2", "NaCl", "CaTiO3"])
    total = results.table.groupby("id").probability.sum()
    for row in results.not_tried.itertuples():
        assert total[row.id] + row.not_tried_probability == pytest.approx(1.0)


def test_a_given_z_leaves_no_cell_untried(model) -> None:
    (entry,) = formula_entries("LiFePO4", z=1)
    found = predict_symmetry(entry, SymmetrySettings(), model)
    assert found.untried.cells == ()
    assert found.untried.cells_probability == 0
    assert found.z_prob == ((1, 1.0),)


def test_a_given_space_group_counts_only_the_cells_that_it_can_hold(model) -> None:
    free = z_probabilities((1, 1))
    held = z_probabilities((1, 1), 225)
    assert held.sum() == pytest.approx(1.0)
    assert (
        [z for z in range(1, 13) if not held[z]]
        == [z for z in range(1, 13) if not can_hold(225, (z, z))]
        == [3, 4, 5, 11]
    )
    # Of what is possible, the proportions stay.
    assert held[2] / held[1] == pytest.approx(free[2] / free[1])
    (entry,) = formula_entries("NaCl", space_group=225)
    found = predict_symmetry(entry, SymmetrySettings(), model)
    assert all(can_hold(225, (c.z, c.z)) for c in found.untried.cells)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(
    ("lower", "raised"),
    [
        ({"max_atoms": 12}, {"max_atoms": 24}),
        ({"max_atoms": 24, "max_z": 1}, {"max_atoms": 24, "max_z": 4}),
        ({"n_labels": 3}, {"n_labels": 40}),
        ({"n_labels": 1, "max_space_groups": 1}, {"n_labels": 1, "max_space_groups": 10}),
        ({"coverage": 0.5}, {"coverage": 0.99}),
        ({"max_atoms": 12, "n_labels": 5, "max_z": 2}, {"max_atoms": 20, "n_labels": 6, "max_z": 3}),
    ],
    ids=["max_atoms", "max_z", "n_labels", "max_space_groups", "coverage", "all"],
)
def test_a_raised_limit_keeps_all_labels_groups_and_z(formula, lower, raised, model) -> None:
    try:
        few = predicted(formula, model, **lower)
    except UserError:
        pytest.skip("the formula unit is larger than the lower cap")
    many = predicted(formula, model, **raised)
    assert few.labels
    for lost, kept in zip(contents(few), contents(many)):
        assert lost <= kept
    assert many.untried.probability <= few.untried.probability + 1e-9


def test_quartz_is_tried_whatever_the_cap(model) -> None:
    for max_atoms in range(9, 25, 3):
        assert 3 in {p.z for p in predicted("SiO2", model, max_atoms).labels}


def test_a_limit_counts_what_is_no_larger() -> None:
    # Best first: sizes 4, 4, 1, 2, 1; of two places, size 1 has its own two, size 2 only what is left of them.
    assert best_of_no_larger([4, 4, 1, 2, 1], 2) == [0, 1, 2, 3, 4]
    assert best_of_no_larger([1, 1, 4, 1], 2) == [0, 1]
    sizes = np.random.default_rng(1).integers(1, 9, 60).tolist()
    for most in range(1, 12):
        few, many = best_of_no_larger(sizes, most), best_of_no_larger(sizes, most + 1)
        assert set(few) <= set(many)
        for cap in range(1, 9):
            small = [i for i, s in enumerate(sizes) if s <= cap]
            capped = {small[k] for k in best_of_no_larger([sizes[i] for i in small], most)}
            assert capped == {i for i in few if sizes[i] <= cap}


def test_counts_decide_z_and_back_off_where_there_are_none() -> None:
    sizes = gather_counts({(1, 1, 1, 4): {4: 1000.0}, (1, 2): {1: 10.0, 2: 30.0}})
    assert sizes.probabilities((1, 4, 1, 1))[4] > 0.99
    # AB2 was counted: 3 to 1. A stoichiometry of as many atoms and elements, ABC4 aside, falls back on it.
    two = sizes.probabilities((1, 2))
    assert two[2] / two[1] == pytest.approx(3.0, rel=0.1)
    assert sizes.probabilities((2, 2, 3))[4] > 0.9
    for amounts in ((1, 2), (3, 5, 8), (1,)):
        found = sizes.probabilities(amounts)
        assert found.sum() == pytest.approx(1.0)
        assert (found[1:] > 0).all()


def test_the_network_divides_what_the_counts_leave_within_its_cells() -> None:
    counted = np.zeros(65)
    counted[[1, 2, 4]] = 0.25, 0.25, 0.5
    joined = joined_with_network(counted, np.array([0.0, 0.0, 1.0, 0.0]), 3)
    assert joined[4] == 0.5
    assert joined[2] == pytest.approx(0.5 * (0.95 + 0.05 / 2))
    assert joined[1] == pytest.approx(0.5 * 0.05 / 2)


def test_what_was_not_tried_is_named_if_it_weighs() -> None:
    cells = (UntriedCell(4, 28, 0.8, "most 24"), UntriedCell(9, 63, 0.001, "most 24"))
    untried = Untried(cells, 0.801, 0.05)
    assert untried.probability == pytest.approx(0.851)
    assert untried.text.startswith(
        "z = 4 (28 atoms) not tried: most 24; labels of probability 0.05 not tried"
    )
    assert Untried(cells[1:], 0.001, 0.0).text == ""


@pytest.mark.parametrize(
    ("formula", "space_group", "least"),
    [("LiFePO4", 62, 4), ("Ca3Al2Si3O12", 230, 4), ("NaCl", 225, 1), ("TiO2", 136, 2), ("MgAl2O4", 227, 2)],
)
def test_the_least_cell_of_a_space_group_is_the_known_one(formula, space_group, least) -> None:
    from pymatgen.core import Composition

    amounts = tuple(sorted(int(n) for n in Composition(formula).get_el_amt_dict().values()))
    assert least_z(space_group, amounts) == least


@pytest.mark.parametrize(
    ("formula", "z", "space_group", "says", "raised"),
    [
        ("LiFePO4", None, 62, r"62 holds LiFePO4 with z = 4 \(28 atoms.*and 24 is the most; correct", None),
        ("NaCl", None, 230, r"230 holds NaCl with z = 8 \(16 atoms.*is 12; raise it to 16, or", 16),
        ("NaCl", 1, 230, r"least that it could is z = 8 \(16 atoms.*raise it to 16 and z to 8, or", (16, 8)),
        ("MgAl2O4", None, 227, r"with z = 2 \(14 atoms.*raise it to 14, or", 14),
        ("TiO2", 5, None, r"are 15 atoms.*is 12; raise it to 15, or", 15),
        ("TiO2", 9, None, r"are 27 atoms.*is 12, and 24 is the most; leave it out", None),
        ("Ca3Al2Si3O12", None, None, r"mostly has z = 4 \(80 atoms.*and 24 is the most; leave it out", None),
        ("YBa2Cu3O7", None, None, r"is 13 atoms, the least.*raise it to 13, or", 13),
    ],
)
def test_advice_about_the_size_of_a_cell_is_true(formula, z, space_group, says, raised) -> None:
    with pytest.raises(UserError, match=says) as refused:
        formula_entries(formula, z, space_group)
    if raised is None:
        assert "raise it" not in str(refused.value)
        return
    atoms, z = raised if isinstance(raised, tuple) else (raised, z)
    (entry,) = formula_entries(formula, z, space_group, IntakeSettings(max_atoms=atoms))
    assert atoms in {n * sum(a for _, a in entry.amounts) for n in entry.z_allowed}
    if z is None:
        with pytest.raises(UserError):
            formula_entries(formula, z, space_group, IntakeSettings(max_atoms=atoms - 1))


@pytest.mark.parametrize(
    ("formula", "z", "space_group", "primitive"),
    [("NaCl", 4, 225, 1), ("MgAl2O4", 8, 227, 2), ("CaCO3", 6, 167, 2), ("Fe", 2, 229, 1)],
)
def test_a_z_of_the_conventional_cell_is_told_from_that_of_the_primitive_one(
    formula, z, space_group, primitive
) -> None:
    says = f"z = {z} in the conventional cell is z = {primitive} in the primitive one"
    with pytest.raises(UserError, match=says):
        formula_entries(formula, z, space_group)
    (entry,) = formula_entries(formula, primitive, space_group, IntakeSettings(max_atoms=24))
    assert entry.z_allowed == (primitive,)


def test_a_z_that_fits_both_cells_is_noted() -> None:
    entries = formula_entries("Si", 8, 227)
    (note,) = reading_notes(entries)
    assert note.endswith(
        "Si; z = 8 in the conventional cell is z = 2 in the primitive one, which counts here"
    )
    assert (
        reading_notes(formula_entries("Si", 2, 227)) == reading_notes(formula_entries("TiO2", 2, 136)) == ()
    )


def test_a_cap_that_the_features_cannot_hold_is_said_at_once() -> None:
    with pytest.raises(
        UserError, match=r"features.length = 12 is less than intake.max_atoms = 20; set .* 20"
    ):
        parse_settings({"intake": {"max_atoms": 20}, "features": {"length": 12}})
