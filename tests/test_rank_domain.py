"""Which formulas are outside of what the networks learned from, and what that does to their ranking."""

from __future__ import annotations

import csv
import dataclasses

import known_pools as known
import numpy as np
import pytest
from mapcsp.errors import StoreError
from mapcsp.ranking import load_ranker, rank_pool, run_rank, save_ranker
from mapcsp.ranking.domain import KINDS, NONMETALS, Domain, count_formulas, reduced_amounts, stoichiometry_key
from mapcsp.records import CandidatePool, FormulaOutcome, Label, RelaxedPool
from mapcsp.settings import RankingSettings
from mapcsp.store import read_records, write_json, write_records
from mapcsp.symmetry.labels import AnonymousLabel
from mapcsp.training.ranker.unseen import domain_of

SHIFTS = {"single_element": 2.0, "nonmetals": 1.0, "few_examples": 3.0, "new_stoichiometry": 0.5}
DOMAIN = Domain(
    (
        ("C", 200),
        ("Cl", 300),
        ("Na", 500),
        ("O", 4000),
        ("Si", 900),
        ("Xe", 6),
        ("N", 800),
        ("F", 29),
        ("K", 30),
    ),
    (("1", 20), ("1:1", 90), ("1:2", 80)),
    tuple(SHIFTS.items()),
)


@pytest.mark.parametrize(
    ("formula", "kinds", "shift"),
    [
        ("NaCl", [], 0.0),
        ("SiO2", [], 0.0),
        ("N", ["single_element"], 2.0),
        ("N2", ["single_element"], 2.0),
        ("Na", ["single_element"], 2.0),
        ("CO2", ["nonmetals"], 1.0),
        ("ClO", ["nonmetals"], 1.0),
        ("SiC", [], 0.0),
        ("Xe", ["few_examples", "single_element"], 3.0),
        ("XeO2", ["few_examples", "nonmetals"], 3.0),
        ("NaF", ["few_examples"], 3.0),
        ("KCl", [], 0.0),
        ("Na3Cl2", ["new_stoichiometry"], 0.5),
        ("He", ["few_examples", "single_element"], 3.0),
        ("C3N4", ["nonmetals", "new_stoichiometry"], 1.0),
    ],
)
def test_a_formula_is_outside_by_its_elements_and_its_stoichiometry(formula, kinds, shift):
    outside = DOMAIN.outside(formula)
    assert [one.kind for one in outside] == kinds
    assert DOMAIN.shift_of(outside) == shift


def test_the_reasons_are_plain_words():
    reasons = {f: [one.reason for one in DOMAIN.outside(f)] for f in ("N2", "XeNa", "HeNa", "Na3Cl2", "CO2")}
    assert reasons["N2"] == ["single element: the networks were trained on compounds"]
    assert reasons["XeNa"] == ["only 6 training formulas with Xe"]
    assert reasons["HeNa"] == ["no training formula has He"]
    assert reasons["Na3Cl2"] == ["no training crystal has the stoichiometry 2:3"]
    assert reasons["CO2"] == [
        "nonmetals alone: most are molecular crystals, whose packing the training crystals hardly show"
    ]


def test_amounts_are_those_of_the_smallest_unit_also_of_an_element():
    assert reduced_amounts("N2") == {"N": 1} and reduced_amounts("Na2O2") == {"Na": 1, "O": 1}
    assert stoichiometry_key((3, 1, 1)) == "1:1:3"
    elements, stoichiometries = count_formulas([{"Na": 1, "Cl": 1}, {"Ti": 1, "O": 2}, {"O": 1, "Na": 2}])
    assert dict(elements) == {"Na": 2, "Cl": 1, "Ti": 1, "O": 2}
    assert dict(stoichiometries) == {"1:1": 1, "1:2": 2}


def test_metalloids_are_no_molecules_and_every_noble_gas_is_a_nonmetal():
    assert not NONMETALS & {"B", "Si", "Ge", "As", "Te", "Sb"} and {"He", "Ne", "Ar", "Kr", "Xe"} <= NONMETALS


def test_training_formulas_are_counted_once_whatever_their_cells_and_labels():
    """Rock salt twice (two labels, one with a doubled cell), and fluorite."""

    class Memory:
        labels = (
            AnonymousLabel.from_key("225:a|b"),
            AnonymousLabel.from_key("123:ad|bc"),
            AnonymousLabel.from_key("225:a|c"),
        )
        example_formula = np.array([7, 7, 9])
        example_label = np.array([0, 1, 2])
        example_elements = np.array([[11, 17, 0], [11, 17, 0], [20, 9, 0]])

    found = domain_of(Memory())
    assert found.element_formulas == (("Ca", 1), ("Cl", 1), ("F", 1), ("Na", 1))
    assert found.stoichiometry_formulas == (("1:1", 1), ("1:2", 1))
    assert found.none_shift == tuple((kind, 0.0) for kind in KINDS)


def nitrogen_pool() -> RelaxedPool:
    label = Label.from_key("225:N-a")
    crystal = dataclasses.replace(known.rocksalt(), species=("N", "N"))
    one = known.relaxed_candidate("n-0", crystal, label, -8.0, formula="N2", formula_id="N2", log_prob=-0.1)
    return RelaxedPool("N2", "N2", (one,))


def test_outside_the_odds_of_none_of_these_rise_by_the_shift():
    ranker = load_ranker()

    def odds_of_none(domain: Domain) -> float:
        outcome, _, _ = rank_pool(
            nitrogen_pool(), RankingSettings(), dataclasses.replace(ranker, domain=domain)
        )
        (only,) = outcome.structures
        return (1 - only.probability) / only.probability

    without = dataclasses.replace(DOMAIN, none_shift=tuple((kind, 0.0) for kind in KINDS))
    assert odds_of_none(DOMAIN) / odds_of_none(without) == pytest.approx(np.exp(2.0))


def test_the_outcome_and_the_table_say_why(tmp_path):
    write_json(tmp_path / "intake" / "index.json", {"ids": ["N2", "NaCl"]})
    write_records(tmp_path / "pools.jsonl", CandidatePool, [])
    write_records(tmp_path / "relaxed.jsonl", RelaxedPool, [nitrogen_pool(), known.salt_pool()])
    write_json(tmp_path / "ranking.json", RankingSettings().model_dump(mode="json"))
    run_rank(
        [tmp_path / "relaxed.jsonl"],
        [tmp_path / "pools.jsonl"],
        tmp_path / "intake" / "index.json",
        tmp_path / "ranking.json",
        tmp_path / "ranking",
    )
    reason = "single element: the networks were trained on compounds"
    nitrogen, salt = read_records(tmp_path / "ranking" / "outcomes.jsonl", FormulaOutcome)
    assert nitrogen.outside_domain == (reason,) and salt.outside_domain == ()
    with open(tmp_path / "ranking" / "ranking.csv", newline="") as handle:
        said = {(row["id"], row["outside_domain"]) for row in csv.DictReader(handle)}
    assert said == {("N2", reason), ("NaCl", "")}


def test_a_ranker_without_a_shift_for_every_kind_is_refused(tmp_path):
    ranker = load_ranker()
    for bad in (tuple(SHIFTS.items())[:3], (*tuple(SHIFTS.items())[:3], ("new_stoichiometry", -1.0))):
        save_ranker(
            tmp_path / "bad.json",
            dataclasses.replace(ranker, domain=dataclasses.replace(DOMAIN, none_shift=bad)),
        )
        with pytest.raises(StoreError, match="none_shift of at least 0"):
            load_ranker(tmp_path / "bad.json")


def test_the_shipped_domain_knows_oxides_and_not_the_noble_gases():
    domain = load_ranker().domain
    counts = dict(domain.element_formulas)
    assert counts["O"] > 4000 and counts.get("Xe", 0) < 30 and "He" not in counts
    assert dict(domain.stoichiometry_formulas)["1:1:3"] > 1000
    assert domain.outside("CaTiO3") == domain.outside("NaCl") == domain.outside("SiO2") == ()
    for formula in ("N", "O2", "Cl2", "Ar", "Fe", "CO2", "H2O", "XeF2", "Na7Cl9O11Ti13"):
        assert domain.outside(formula)
    for formula in ("CO2", "H2O", "HCl", "XeF2", "Na7Cl9O11Ti13"):
        assert domain.shift_of(domain.outside(formula)) > 0.3
