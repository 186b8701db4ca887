"""Fitting the ranking: comparison out of fold, temperature, what is written, what ships."""

import dataclasses

import numpy as np
import pytest
from mapcsp.ranking.domain import Domain
from mapcsp.ranking.features import NAMES
from mapcsp.ranking.fit import fit_coefficients
from mapcsp.ranking.model import RankerCoefficients, load_ranker
from mapcsp.settings import Settings
from mapcsp.training.ranker.card import write_ranker_card
from mapcsp.training.ranker.pools import MatchedPool, pools_key, same_phase
from mapcsp.training.ranker.train import (
    OutOfFold,
    calibrate,
    example_of,
    fit_none_shift,
    fit_pools,
    judge,
    out_of_fold,
    score_pool,
)

LABEL, ENERGY, SECOND = (NAMES.index(n) for n in ("label_log_prob", "energy_above", "rescored_above"))
TERMS = ("label_log_prob", "energy_above")


def pools(n: int, seed: int = 0, outside: str = "") -> list[MatchedPool]:
    """Pools of five candidates; label and second energy decide, the first energy is the second with errors."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        features = np.zeros((5, len(NAMES)))
        features[:, LABEL] = -rng.exponential(2.0, 5)
        second = rng.random(5)
        features[:, SECOND] = second - second.min()
        features[:, ENERGY] = np.clip(second + rng.normal(0, 0.3, 5), 0, 1)
        scores = 0.6 * features[:, LABEL] - 3.0 * features[:, SECOND]
        chance = np.exp(np.append(scores, -3.0))
        drawn = rng.choice(6, p=chance / chance.sum())
        right = tuple(bool(i == drawn) for i in range(5))
        first = right[int(np.argmax(features[:, LABEL]))]
        found.append(
            MatchedPool(
                str(number), "NaCl", features, np.zeros(5), tuple(range(5)), right, right,
                features[:, ENERGY], features[:, SECOND], first, outside,
            )
        )  # fmt: skip
    return found


NITROGENS = pools(20, seed=3, outside="single_element")


def test_out_of_fold_each_pool_is_judged_by_models_that_did_not_see_it():
    examples = [example_of(p) for p in pools(60)]
    scored = out_of_fold(pools(60), TERMS)
    assert len(scored) == 180
    seen = fit_coefficients(examples, TERMS)
    ours = [judge(s).log_likelihood for s in scored]
    best = [
        judge(dataclasses.replace(s, linear=s.pool.features @ seen.vector, none_score=seen.none_score))
        for s in scored
    ]
    assert np.mean(ours) < np.mean([j.log_likelihood for j in best])


def test_the_temperature_undoes_scores_that_are_too_sure():
    scored = out_of_fold(pools(400), TERMS)
    sure = [dataclasses.replace(s, linear=2.5 * s.linear, none_score=2.5 * s.none_score) for s in scored]
    temperature, _ = calibrate(sure)
    plain, _ = calibrate(scored)
    assert plain == pytest.approx(1.0, abs=0.3)
    assert temperature == pytest.approx(2.5 * plain, rel=0.05)


def test_a_fit_prefers_what_decides_and_its_figures_say_so(tmp_path):
    fit = fit_pools(
        pools(150), [dataclasses.replace(p, right=(False,) * 5, matches=(False,) * 5) for p in NITROGENS]
    )
    assert fit.with_rescore.vector[SECOND] < -1.5 and fit.with_rescore.vector[ENERGY] == 0.0
    assert fit.without_rescore.vector[SECOND] == 0.0
    figures = fit.figures
    assert figures["pools"] == figures["pools_with_second_energies"] == 150
    assert figures["with_rescore_chosen_log_likelihood"] > figures["without_rescore_chosen_log_likelihood"]
    assert figures["without_rescore_chosen_log_likelihood"] > figures["without_rescore_label_log_likelihood"]
    assert figures["right_in_pool"] >= figures["with_rescore_chosen_first"] > figures["first_by_energy"]
    assert figures["with_rescore_chosen_calibration_error"] < 0.12
    shifts = dict(fit.none_shift)
    assert shifts["single_element"] > 1.0 and shifts["nonmetals"] == 0.0
    assert figures["single_element_pools"] == 20 and figures["single_element_first"] == 0.0
    assert figures["single_element_mean_claim"] < 0.5 * figures["single_element_mean_claim_before"]
    domain = Domain((("N", 1),), (("1", 1),), fit.none_shift)
    ranker = RankerCoefficients(
        fit.without_rescore, fit.with_rescore, "m3gnet", "sevennet-l3i5", 150, "Made up.", domain
    )
    write_ranker_card(tmp_path, ranker, figures, ["table.parquet"], ["others.parquet"])
    card = (tmp_path / "card.md").read_text()
    assert f"| second energy | {figures['first_by_rescored_energy']:.3f} |" in card
    assert "`table.parquet`" in card and "`others.parquet`" in card
    assert f"| a single element | 20 | {figures['single_element_right_in_pool']:.3f} |" in card
    assert "mean_claim" not in card and all(f"| `{name}` |" in card for name in NAMES)


def test_claims_of_a_kind_that_is_always_wrong_sink_and_of_one_that_is_right_stay():
    fitted = fit_coefficients([example_of(p) for p in pools(300)])
    scored = [score_pool(p, fitted) for p in pools(60, seed=5)]
    never = [dataclasses.replace(s, pool=dataclasses.replace(s.pool, matches=(False,) * 5)) for s in scored]
    always = [dataclasses.replace(s, pool=dataclasses.replace(s.pool, matches=(True,) * 5)) for s in scored]
    assert fit_none_shift(always) == pytest.approx(0.0, abs=0.01)
    assert fit_none_shift(never) > 3.0 > fit_none_shift(scored) >= 0.0
    assert fit_none_shift([]) == 0.0


def test_a_fixed_coefficient_is_as_fixed_without_any_candidate_far_above():
    fitted = dict(
        fit_coefficients([example_of(p) for p in pools(60)], (*TERMS, "energy_excess")).coefficients
    )
    assert fitted["energy_excess"] == pytest.approx(-50.0) and fitted["rescored_excess"] == 0.0


def test_the_first_answer_is_judged_by_its_lowest_member():
    pool = MatchedPool(
        "1", "NaCl", np.zeros((3, len(NAMES))), np.zeros(3), (0, 0, 1), (False, False, True), (True, True, True),
        np.array([-3.1, -3.3, -3.4]), None, True, "",
    )  # fmt: skip
    found = judge(OutOfFold(np.array([1.0, 1.0, 0.0]), 0.0, pool))
    total = 2 * np.e + 2
    assert (found.right, found.matches) == (False, True)
    assert found.claimed == pytest.approx(2 * np.e / total)
    assert found.log_likelihood == pytest.approx(np.log(1 / total))
    assert found.above_ev_per_atom == pytest.approx(0.1)


def test_only_the_known_crystals_own_phase_is_right_where_it_is_in_the_pool():
    matches = np.array([True, True, False, True])
    assert same_phase(matches, [62, 221, 62, 62], 62).tolist() == [True, False, False, True]
    assert same_phase(matches, [63, 221, 62, 140], 62).tolist() == [True, True, False, True]
    assert same_phase(matches, [152, 181, 154, 154], 154).tolist() == [True, False, False, True]


def test_pools_are_kept_by_what_decides_them():
    settings = Settings()
    other = settings.model_copy(update={"pool": settings.pool.model_copy(update={"size": 5})})
    report = settings.model_copy(update={"report": settings.report.model_copy(update={"title": "x"})})
    assert pools_key(settings) == pools_key(report) != pools_key(other)


def test_the_shipped_ranking_is_fitted():
    ranker = load_ranker()
    assert ranker.n_pools >= 100
    assert ranker.second_potential == "sevennet-l3i5"
    assert ranker.without_rescore.vector[LABEL] > 0 > ranker.without_rescore.vector[ENERGY]
    assert ranker.with_rescore.vector[LABEL] > 0 > ranker.with_rescore.vector[SECOND]
