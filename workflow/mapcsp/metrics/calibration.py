"""Calibration: do predictions that claim a probability come true that often?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.metrics.match import wilson_interval


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions whose claimed probability lies in [low, high): how many, their mean claim, and how many were right.

    right_low, right_high: 95 % Wilson interval of the share that was right.
    """

    low: float
    high: float
    n: int
    mean_claimed: float
    share_right: float
    right_low: float
    right_high: float


def reliability_curve(
    claimed: Sequence[float] | np.ndarray,
    right: Sequence[bool] | np.ndarray,
    n_bins: int = 10,
    equal_counts: bool = False,
) -> list[ReliabilityBin]:
    """Bins of a reliability curve, without empty ones.

    claimed: (n,), probabilities; right: (n,). equal_counts: bins of equally many predictions, not of equal
    width. Raises ValueError for no predictions, unequal lengths or a claim outside [0, 1].
    """
    p, r = np.asarray(claimed, float), np.asarray(right, bool)
    if p.shape != r.shape or p.ndim != 1 or not p.size:
        raise ValueError(f"got {p.shape} probabilities for {r.shape} outcomes")
    if ((p < 0) | (p > 1)).any():
        raise ValueError("a claimed probability lies outside [0, 1]")
    if equal_counts:
        order = np.argsort(p, kind="stable")
        members = [chunk for chunk in np.array_split(order, min(n_bins, len(p))) if len(chunk)]
        edges = [(float(p[m].min()), float(p[m].max())) for m in members]
    else:
        index = np.minimum((p * n_bins).astype(int), n_bins - 1)
        filled = np.unique(index)
        members = [np.flatnonzero(index == i) for i in filled]
        edges = [(i / n_bins, (i + 1) / n_bins) for i in filled.tolist()]
    bins = []
    for (low, high), m in zip(edges, members):
        interval = wilson_interval(int(r[m].sum()), len(m))
        bins.append(ReliabilityBin(low, high, len(m), float(p[m].mean()), float(r[m].mean()), *interval))
    return bins


def expected_calibration_error(
    claimed: Sequence[float] | np.ndarray,
    right: Sequence[bool] | np.ndarray,
    n_bins: int = 10,
    equal_counts: bool = False,
) -> float:
    """Mean of |mean claim - share right| over bins, weighted by their predictions (Naeini et al., AAAI 2015)."""
    bins = reliability_curve(claimed, right, n_bins, equal_counts)
    return sum(b.n * abs(b.mean_claimed - b.share_right) for b in bins) / sum(b.n for b in bins)


def brier_score(claimed: Sequence[float] | np.ndarray, right: Sequence[bool] | np.ndarray) -> float:
    """Mean squared difference of claim and outcome (Brier, Mon. Weather Rev. 78, 1, 1950)."""
    p, r = np.asarray(claimed, float), np.asarray(right, float)
    if p.shape != r.shape or not p.size:
        raise ValueError(f"got {p.shape} probabilities for {r.shape} outcomes")
    return float(np.mean((p - r) ** 2))


def calibration_noise_floor(
    claimed: Sequence[float] | np.ndarray, n_bins: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Expected calibration error of perfectly calibrated predictions with these claims: mean and 95th percentile.

    claimed: (n,), in [0, 1]. Outcomes are drawn 2,000 times with the claimed probabilities, in bins of equal width. The
    error is never 0: chance alone moves the share of a bin with m predictions by about sqrt(p (1 - p) / m).
    """
    p = np.asarray(claimed, float)
    outcomes = np.random.default_rng(seed).random((2000, len(p))) < p
    in_bin = np.minimum((p * n_bins).astype(int), n_bins - 1)[:, None] == np.arange(n_bins)
    # |sum of claims - sum of outcomes| of a bin is its number of predictions times the difference of means.
    errors = np.abs((outcomes - p) @ in_bin).sum(axis=1) / len(p)
    return float(errors.mean()), float(np.percentile(errors, 95))
