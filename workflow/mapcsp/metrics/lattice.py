"""Lattice parameters: coefficients of determination and mean relative errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def r2(predicted: Sequence[float] | np.ndarray, true: Sequence[float] | np.ndarray) -> float | None:
    """Coefficient of determination, 1 - sum of squared errors over sum of squares about the mean of the truth.

    It is negative where the truth's mean would do better (CRYSPNet and MLatticeABC report it). None if the
    truth is constant.
    """
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    total = float(((t - t.mean()) ** 2).sum())
    return (
        None if total <= 1e-12 * max(1.0, float((t**2).sum())) else float(1.0 - ((p - t) ** 2).sum() / total)
    )


def mean_relative_error(predicted: Sequence[float] | np.ndarray, true: Sequence[float] | np.ndarray) -> float:
    """Mean of |predicted - true| / |true|, a fraction; raises ValueError for a true value of zero or no values."""
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    if t.size == 0 or (t == 0).any():
        raise ValueError("a relative error needs true values other than zero")
    return float(np.mean(np.abs(p - t) / np.abs(t)))
