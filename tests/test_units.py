"""Formulas whose common factor belongs to them, or in another order: the same prediction in the author's terms."""

from __future__ import annotations

import pytest
from mapcsp import api
from mapcsp.ranking.rank import _units_of_the_formula

FEW = {"symmetry": {"n_labels": 5}}


def test_three_units_of_a_peroxide_are_six_of_the_reduced_formula():
    peroxide, reduced = (api.symmetry(f, z=z, settings=FEW).table for f, z in (("Na2O2", 3), ("NaO", 6)))
    assert peroxide["z"].tolist() == [3] * 5
    assert peroxide["formula"].unique().tolist() == ["Na2O2"]
    assert peroxide["label"].tolist() == reduced["label"].tolist()
    assert peroxide["probability"].tolist() == reduced["probability"].tolist()
    # The known crystal: P-62m, with two kinds of sodium and two of oxygen.
    assert "189:Na-f,Na-g,O-e,O-h" in peroxide["label"].tolist()


def test_a_peroxide_is_never_given_half_a_unit():
    (prediction,) = api.symmetry("Na2O2").predictions
    assert {z for z, _ in prediction.z_prob} <= {1, 2, 3}
    assert sum(p for _, p in prediction.z_prob) == pytest.approx(1)
    assert {label.z for label in prediction.labels} <= {1, 2, 3}


def test_calomel_and_chlorine_find_their_known_crystals():
    calomel = api.symmetry("Hg2Cl2", settings=FEW).table
    assert calomel.loc[0, ["z", "label"]].tolist() == [1, "139:Cl-e,Hg-e"]
    chlorine = api.symmetry("Cl2", space_group="Cmce", settings=FEW).table
    assert (2, "64:Cl-f") in set(zip(chlorine["z"], chlorine["label"]))


def test_another_order_of_elements_changes_the_text_alone():
    options = {"intake": {"max_atoms": 13}, "symmetry": {"n_labels": 5}}
    usual, turned = (api.symmetry(f, settings=options).table for f in ("YBa2Cu3O7", "O7Cu3Ba2Y"))
    assert usual["formula"].unique().tolist() == ["YBa2Cu3O7"]
    assert turned["id"].unique().tolist() == ["O7Cu3Ba2Y"]
    numbers = [c for c in usual.columns if c not in ("id", "formula")]
    assert usual[numbers].equals(turned[numbers])


def test_a_space_group_is_given_by_number_or_symbol():
    by_number, by_symbol = (
        api.symmetry("NaCl", space_group=g, settings=FEW).table for g in (225, "F m -3 m")
    )
    assert by_number.equals(by_symbol)


def test_the_author_decides_between_formula_and_content():
    as_formula, as_content = (api.symmetry("Ti2O4", content=c, settings=FEW).table for c in (False, True))
    assert as_formula["formula"].unique().tolist() == ["Ti2O4"]
    assert (as_content["formula"].unique().tolist(), set(as_content["z"])) == (["TiO2"], {2})
    assert set(as_formula["z"]) <= {1, 2}


@pytest.mark.parametrize(
    ("z", "formula", "units"), [(6, "Na2O2", 3), (1, "Na2O2", 0.5), (4, "TiO2", 4), (8, "S8", 1)]
)
def test_z_of_a_relaxed_crystal_counts_the_formula_as_written(z, formula, units):
    assert _units_of_the_formula(z, formula) == units
