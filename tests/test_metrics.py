"""Metrics of maps, symmetry, lattices, matches and calibration: worked examples and properties."""

from __future__ import annotations

import dataclasses

import known_pools as known
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.crystals import distance_matrix
from mapcsp.metrics import calibration, lattice, maps, match

TOLERANCE = 1e-9


def contacts(*pairs: tuple[int, int], n: int = 4) -> np.ndarray:
    found = np.zeros((n, n), bool)
    for i, j in pairs:
        found[i, j] = found[j, i] = True
    return found


def test_dice_of_known_maps():
    assert maps.contact_dice(contacts((0, 1), (1, 2)), contacts((0, 1), (2, 3))) == 0.5
    assert maps.contact_dice(contacts((0, 1)), contacts((0, 1))) == 1.0
    assert maps.contact_dice(contacts(), contacts()) == 1.0
    assert maps.contact_dice(contacts((0, 1)), contacts()) == 0.0
    assert maps.contact_dice(np.eye(4, dtype=bool) | contacts((0, 1)), contacts((0, 1))) == 1.0


def test_distance_errors_of_a_known_map_leave_out_the_diagonal():
    true = np.array([[0.0, 3.0], [3.0, 0.0]])
    predicted = np.array([[9.0, 3.5], [3.5, 9.0]])
    assert maps.distance_mse_ang2(predicted, true) == 0.25
    assert maps.distance_mse_ang2(true[:1, :1], true[:1, :1]) is None


def test_overlap_counts_true_pairs_within_eight_angstrom():
    true = np.array([[0.0, 3.0, 7.0], [3.0, 0.0, 9.0], [7.0, 9.0, 0.0]])
    predicted = np.array([[0.0, 3.0, 8.5], [3.0, 0.0, 4.0], [8.5, 4.0, 0.0]])
    assert maps.distance_overlap(predicted, true) == 0.5
    assert maps.distance_overlap(true, true) == 1.0
    assert maps.distance_overlap(predicted, true + 100) is None


def test_r2_is_one_for_the_truth_zero_for_its_mean_and_none_for_a_constant():
    true = [1.0, 2.0, 4.0]
    assert lattice.r2(true, true) == 1.0
    assert lattice.r2([np.mean(true)] * 3, true) == pytest.approx(0.0)
    assert lattice.r2([4.0, 2.0, 1.0], true) < 0
    assert lattice.r2([1.0, 2.0], [3.0, 3.0]) is None


@pytest.mark.parametrize("tolerance", [match.LOOSE, match.STRICT])
def test_a_crystal_matches_itself_in_another_cell(tolerance):
    for crystal in (known.rocksalt(), known.perovskite(), known.zinc_blende_type()):
        assert match.match_rms(known.shaken(crystal, 0.0, 1), crystal, tolerance) == pytest.approx(
            0.0, abs=1e-6
        )


def test_other_types_and_other_compositions_do_not_match():
    assert match.match_rms(known.zinc_blende_type(), known.cesium_chloride_type(), match.STRICT) is None
    assert match.match_rms(known.perovskite(), known.rocksalt()) is None
    swapped = dataclasses.replace(known.rocksalt(), species=("K", "Cl"))
    assert match.match_rms(swapped, known.rocksalt()) is None


def test_match_rates_grow_with_k_and_average_the_best_matches():
    matches = [[None, 0.2, 0.1], [0.4], [None, None], []]
    rates = [match.match_rate_at(k, matches) for k in (1, 2, 3)]
    assert [r.rate for r in rates] == [0.25, 0.5, 0.5]
    assert [r.rmse for r in rates] == pytest.approx([0.4, 0.3, 0.25])
    assert rates[0].low == pytest.approx(0.0456, abs=1e-4) and rates[0].high == pytest.approx(
        0.6994, abs=1e-4
    )
    assert match.match_rate_at(1, [[None]]).rmse is None
    with pytest.raises(ValueError, match="at least one target"):
        match.match_rate_at(1, [])


def test_wilson_interval_of_textbook_values():
    low, high = match.wilson_interval(45, 50)
    assert (low, high) == (pytest.approx(0.7864, abs=1e-4), pytest.approx(0.9565, abs=1e-4))
    assert match.wilson_interval(0, 10)[0] == 0.0


def test_the_published_filter_wants_charge_balance_and_apart_atoms():
    assert match.passes_published_filter(known.rocksalt())
    close = dataclasses.replace(known.rocksalt(), lattice_ang=known.rocksalt().lattice_ang * 0.1)
    assert not match.passes_published_filter(close)
    unbalanced = dataclasses.replace(known.perovskite(), species=("Na", "Na", "Cl", "Cl", "Cl"))
    assert not match.passes_published_filter(unbalanced)


def test_true_distances_are_those_of_the_crystal():
    distances = distance_matrix(known.rocksalt(5.64))
    assert maps.distance_mse_ang2(distances, distances) == 0.0 and distances[0, 1] == pytest.approx(2.82)


def test_a_calibrated_forecaster_has_no_calibration_error():
    claimed = np.repeat([0.15, 0.55, 0.95], 100)
    right = np.concatenate([np.arange(100) < n for n in (15, 55, 95)])
    assert calibration.expected_calibration_error(claimed, right) == pytest.approx(0.0, abs=TOLERANCE)
    curve = calibration.reliability_curve(claimed, right)
    assert [(b.low, b.n, b.share_right) for b in curve] == [
        (0.1, 100, 0.15),
        (0.5, 100, 0.55),
        (0.9, 100, 0.95),
    ]
    assert all(b.right_low < b.share_right < b.right_high for b in curve)


def test_an_overconfident_forecaster_is_off_by_its_excess():
    assert calibration.expected_calibration_error([1.0] * 4, [True, True, False, False]) == 0.5
    assert calibration.brier_score([1.0] * 4, [True, True, False, False]) == 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.booleans())
def test_calibration_error_is_a_share_and_bins_keep_every_prediction(pairs, equal_counts):
    claimed, right = zip(*pairs)
    assert 0.0 <= calibration.expected_calibration_error(claimed, right, 10, equal_counts) <= 1.0
    bins = calibration.reliability_curve(claimed, right, 10, equal_counts)
    assert sum(b.n for b in bins) == len(pairs)
    assert sum(b.n * b.mean_claimed for b in bins) == pytest.approx(sum(claimed), abs=1e-6)


def test_impossible_probabilities_are_refused():
    with pytest.raises(ValueError, match="outside"):
        calibration.reliability_curve([1.2], [True])
    with pytest.raises(ValueError, match="outcomes"):
        calibration.expected_calibration_error([], [])
