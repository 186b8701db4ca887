"""Fits the ranking model on pools whose right answer is known: penalised maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from mapcsp.ranking.features import FEATURES, NAMES
from mapcsp.ranking.model import CoefficientSet, RankExample

# What nobody doubts is not penalised: the penalty shrinks the rest towards a ranking by these.
UNPENALISED = ("label_log_prob", "energy_above", "rescored_above")
RIDGE = 3.0


def fit_coefficients(
    examples: Sequence[RankExample], terms: Sequence[str] = NAMES, ridge: float = RIDGE
) -> CoefficientSet:
    """Fit the coefficients of `terms`, each with the sign of its feature, or as the feature fixes it; the others are 0.

    The likelihood of a pool is the summed probability of its right candidates, or of "none" if it holds
    none. The ridge penalty is on coefficients of features scaled to unit spread (but not on UNPENALISED),
    summed over the fit, so it fades as pools are added. Raises ValueError without examples.
    """
    if not examples:
        raise ValueError("the ranker needs at least one pool to be fitted on")
    # All pools in one array, each followed by its row for "none", so that a step costs a few array operations.
    blank = np.zeros((1, len(FEATURES)))
    rows = np.concatenate([np.append(example.features, blank, axis=0) for example in examples])
    offset = np.concatenate([np.append(example.log_weight, 0.0) for example in examples])
    right = np.concatenate([np.append(example.right, not np.any(example.right)) for example in examples])
    sizes = np.array([len(example.features) + 1 for example in examples])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    is_none = np.zeros(len(rows), bool)
    is_none[starts + sizes - 1] = True
    spread = rows[~is_none].std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    rows = rows / scale
    penalty = np.array([0.0 if f.name in UNPENALISED or f.fixed is not None else ridge for f in FEATURES])

    def log_sums(scores: np.ndarray) -> np.ndarray:
        highest = np.maximum.reduceat(scores, starts)
        return highest + np.log(np.add.reduceat(np.exp(scores - np.repeat(highest, sizes)), starts))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, none_score = parameters[:-1], parameters[-1]
        scores = rows @ weights + offset + none_score * is_none
        total = log_sums(scores)
        # Finite, so that a pool's maximum never is minus infinity minus itself.
        of_right = np.where(right, scores, -1e9)
        correct = log_sums(of_right)
        change = np.exp(scores - np.repeat(total, sizes)) - np.exp(of_right - np.repeat(correct, sizes))
        value = float((total - correct).sum() + penalty @ weights**2)
        gradient = np.append(change @ rows + 2 * penalty * weights, change[is_none].sum())
        return value, gradient

    bounds: list[tuple[float | None, float | None]] = []
    start: list[float] = []
    for feature, width, unit in zip(FEATURES, spread, scale):
        if feature.fixed is not None:
            value = feature.sign * feature.fixed * float(unit) if feature.name in terms else 0.0
            bounds.append((value, value))
        elif feature.name in terms and width > 1e-9:
            value = 0.1 * feature.sign
            bounds.append((0.0, None) if feature.sign > 0 else (None, 0.0))
        else:
            # A column without spread says nothing; leaving it free would let it drift with the constant.
            value = 0.0
            bounds.append((0.0, 0.0))
        start.append(value)
    bounds.append((None, None))
    start.append(-2.0)
    result = minimize(
        loss, np.array(start), jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 2000}
    )
    values = result.x[:-1] / scale
    return CoefficientSet(
        tuple((name, float(v) + 0.0) for name, v in zip(NAMES, values)), float(result.x[-1])
    )
