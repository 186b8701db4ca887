import numpy as np
import pytest
from mapcsp.ranking.features import NAMES
from mapcsp.ranking.model import RankExample, load_ranker, log_probabilities, save_ranker
from mapcsp.training.ranker import ENERGY_SCALE_EV_PER_ATOM, fit_two_terms

LABEL, ENERGY = NAMES.index("label_log_prob"), NAMES.index("energy_above_ev_per_atom")


def pools(n: int, weight: float, seed: int = 0) -> list[RankExample]:
    """Pools of five candidates, the right one drawn with the probability that a two-term ranker of `weight` gives it."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(n):
        features = np.zeros((5, len(NAMES)))
        features[:, LABEL] = -rng.exponential(2.0, 5)
        features[:, ENERGY] = rng.exponential(0.03, 5)
        features[rng.integers(5), ENERGY] = 0.0
        scores = weight * (features[:, LABEL] - features[:, ENERGY] / ENERGY_SCALE_EV_PER_ATOM)
        chance = np.exp(np.append(scores, -3.0))
        drawn = rng.choice(6, p=chance / chance.sum())
        examples.append(RankExample(features, np.zeros(5), np.arange(5) == drawn))
    return examples


def test_the_fit_recovers_the_temperature_that_made_the_pools() -> None:
    ranker = fit_two_terms(pools(1500, 0.6))
    assert ranker.vector[LABEL] == pytest.approx(0.6, abs=0.08)
    assert ranker.vector[ENERGY] == pytest.approx(-ranker.vector[LABEL] / ENERGY_SCALE_EV_PER_ATOM)
    assert ranker.none_score == pytest.approx(-3.0, abs=0.4)
    assert set(np.flatnonzero(ranker.vector)) == {LABEL, ENERGY}


def test_probabilities_of_a_fitted_ranker_are_calibrated_on_such_pools() -> None:
    ranker = fit_two_terms(pools(1500, 0.6))
    claimed, right = [], []
    for example in pools(1500, 0.6, seed=1):
        log_prob, _ = log_probabilities(example.features, example.log_weight, ranker)
        claimed.append(np.exp(log_prob.max()))
        right.append(example.right[log_prob.argmax()])
    assert np.mean(claimed) == pytest.approx(np.mean(right), abs=0.04)


def test_a_fit_survives_its_file_and_says_where_it_is_from(tmp_path) -> None:
    ranker = fit_two_terms(pools(50, 0.6), note="made for a test")
    save_ranker(tmp_path / "coefficients.json", ranker)
    again = load_ranker(tmp_path / "coefficients.json")
    assert again == ranker
    assert (again.fitted, again.n_pools, again.note) == (True, 50, "made for a test")


def test_the_shipped_ranking_is_fitted() -> None:
    ranker = load_ranker()
    assert ranker.fitted
    assert ranker.n_pools >= 100
    assert ranker.vector[LABEL] > 0 > ranker.vector[ENERGY]
