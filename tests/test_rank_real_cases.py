"""Real formulas, from the formula to the ranking with the shipped models: cases that once went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from mapcsp.api.formulas import formula_entries
from mapcsp.benchmark.pipeline import load_models, predict_pool, relax_together
from mapcsp.ranking import load_ranker, rank_formula
from mapcsp.records import FormulaOutcome
from mapcsp.relax.backends import load_potential
from mapcsp.settings import RankingSettings, parse_settings

POTENTIAL = Path(__file__).parents[1] / "resources/potentials/m3gnet.safetensors"
pytestmark = [
    pytest.mark.science,
    pytest.mark.skipif(not POTENTIAL.exists(), reason="the M3GNet weights are not here"),
]


def outcome_of(formula: str, z: int | None = None, **intake: int) -> FormulaOutcome:
    settings = parse_settings({"intake": intake} if intake else {})
    (entry,) = formula_entries(formula, z, None, settings.intake)
    pool = predict_pool(entry, load_models(settings), settings)
    (relaxed,) = relax_together([pool], settings, load_potential("m3gnet", "cpu", None))
    return rank_formula(relaxed, RankingSettings(top_k=20), load_ranker())


def test_calcium_titanate_is_the_tilted_perovskite_of_lowest_energy():
    first, *others = outcome_of("CaTiO3", max_atoms=24).structures
    assert (first.space_group, first.z, first.energy_above_best_ev_per_atom) == (62, 4, 0.0)
    # The phases that it was merged with, of the same tilts or fewer, are answers of their own.
    assert {63, 140, 221} <= {s.space_group for s in others}


def test_alpha_quartz_does_not_vanish_into_beta_quartz():
    groups = [s.space_group for s in outcome_of("SiO2", z=3).structures[:3]]
    assert set(groups) & {152, 154} and set(groups) & {180, 181}


@pytest.mark.parametrize("formula", ["N", "O", "Cl"])
def test_an_element_is_not_first_far_above_its_best_candidate_and_says_that_it_is_outside(formula):
    outcome = outcome_of(formula)
    assert outcome.structures[0].energy_above_best_ev_per_atom < 0.25
    assert outcome.outside_domain == ("single element: the networks were trained on compounds",)


def test_the_rock_salt_of_a_peroxide_is_not_first():
    first = outcome_of("BaO2").structures[0]
    assert (first.space_group, first.energy_above_best_ev_per_atom) == (139, 0.0)
