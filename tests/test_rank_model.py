"""The ranking model: its fit finds what made the pools, is calibrated, and its file is checked."""

import dataclasses

import numpy as np
import pytest
from mapcsp.errors import StoreError
from mapcsp.metrics.calibration import calibration_noise_floor, expected_calibration_error
from mapcsp.ranking import RankExample, fit_coefficients, load_ranker, save_ranker
from mapcsp.ranking.features import FEATURES, NAMES
from mapcsp.ranking.model import group_log_probabilities, log_probabilities

LABEL, ENERGY = NAMES.index("label_log_prob"), NAMES.index("energy_above")


def invented_pools(n_pools: int, seed: int) -> list[RankExample]:
    """Pools drawn from the model itself: only label and energy matter; some lack the answer."""
    rng = np.random.default_rng(seed)
    pools = []
    for _ in range(n_pools):
        features = np.zeros((8, len(FEATURES)))
        features[:, LABEL] = -rng.exponential(2.0, 8)
        features[:, ENERGY] = rng.random(8)
        features[:, NAMES.index("volume_change")] = rng.random(8)
        scores = features[:, LABEL] * 0.8 - 3.0 * features[:, ENERGY]
        chances = np.exp(np.append(scores, -1.5))
        answer = rng.choice(9, p=chances / chances.sum())
        pools.append(RankExample(features, np.zeros(8), np.arange(8), np.arange(8) == answer))
    return pools


def test_fitting_recovers_the_coefficients_that_made_the_pools():
    fitted = fit_coefficients(invented_pools(3000, 1), ridge=0.01)
    found = dict(fitted.coefficients)
    assert found["label_log_prob"] == pytest.approx(0.8, abs=0.1)
    assert found["energy_above"] == pytest.approx(-3.0, abs=0.4)
    assert fitted.none_score == pytest.approx(-1.5, abs=0.3)
    assert all(value * feature.sign >= 0 for value, feature in zip(fitted.vector, FEATURES))
    assert found["volume_change"] == pytest.approx(0.0, abs=0.3)


def test_only_the_terms_asked_for_are_fitted():
    fitted = fit_coefficients(invented_pools(200, 1), ("label_log_prob",))
    assert set(np.flatnonzero(fitted.vector)) == {LABEL}


def test_a_stronger_penalty_shrinks_details_and_leaves_label_and_energy():
    pools = invented_pools(300, 3)
    for pool in pools:
        pool.features[:, NAMES.index("contact_dice")] = pool.right + np.linspace(0, 1, 8)
    weak, strong = (dict(fit_coefficients(pools, ridge=r).coefficients) for r in (0.1, 300.0))
    assert 0 < strong["contact_dice"] < 0.3 * weak["contact_dice"]
    assert strong["energy_above"] == pytest.approx(-3.0, abs=1.2)


def test_fitted_probabilities_are_calibrated_on_new_pools():
    fitted = fit_coefficients(invented_pools(2000, 1), ridge=0.01)
    claimed, right = [], []
    for pool in invented_pools(2000, 2):
        log_prob, log_none = log_probabilities(pool.features, pool.log_weight, fitted)
        assert np.exp(log_prob).sum() + np.exp(log_none) == pytest.approx(1.0)
        best = int(np.argmax(log_prob))
        claimed.append(np.exp(log_prob[best]))
        right.append(pool.right[best])
    assert np.mean(claimed) == pytest.approx(np.mean(right), abs=0.03)


def test_the_noise_floor_is_the_error_that_calibrated_claims_show():
    claims = np.random.default_rng(1).random(200)
    mean, high = calibration_noise_floor(claims)
    rng = np.random.default_rng(2)
    errors = [expected_calibration_error(claims, rng.random(200) < claims) for _ in range(200)]
    assert mean == pytest.approx(np.mean(errors), rel=0.1) and high == pytest.approx(
        np.percentile(errors, 95), rel=0.15
    )
    assert calibration_noise_floor(np.repeat(claims, 16))[0] == pytest.approx(mean / 4, rel=0.1)
    assert calibration_noise_floor([0.0, 1.0]) == (0.0, 0.0)


def test_candidates_of_one_crystal_add_up():
    found = group_log_probabilities(np.log([0.2, 0.3, 0.1]), np.array([4, 4, 7]))
    assert {g: round(float(np.exp(v)), 12) for g, v in found.items()} == {4: 0.5, 7: 0.1}


def test_a_ranker_with_a_wrong_sign_or_other_features_is_refused(tmp_path):
    ranker = load_ranker()
    save_ranker(tmp_path / "same.json", ranker)
    assert load_ranker(tmp_path / "same.json") == ranker
    for name in ("without_rescore", "with_rescore"):
        chosen = getattr(ranker, name)
        flipped = dataclasses.replace(chosen, coefficients=tuple((n, -v) for n, v in chosen.coefficients))
        save_ranker(tmp_path / "bad.json", dataclasses.replace(ranker, **{name: flipped}))
        with pytest.raises(StoreError, match="wrong sign"):
            load_ranker(tmp_path / "bad.json")
        short = dataclasses.replace(chosen, coefficients=chosen.coefficients[:3])
        save_ranker(tmp_path / "short.json", dataclasses.replace(ranker, **{name: short}))
        with pytest.raises(StoreError, match="fit the ranker again"):
            load_ranker(tmp_path / "short.json")


def test_fitting_without_pools_is_refused():
    with pytest.raises(ValueError, match="at least one pool"):
        fit_coefficients([])
