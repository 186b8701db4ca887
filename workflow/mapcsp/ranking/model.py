"""A small calibrated model of which candidate is right: a conditional logit with signs that physics fixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from mapcsp.errors import StoreError
from mapcsp.ranking.features import FEATURES, NAMES
from mapcsp.resources import resource_path
from mapcsp.store import from_plain, read_json, write_json

RANKER_RESOURCE = "models/ranker/coefficients.json"


@dataclass(frozen=True)
class RankerCoefficients:
    """Linear scores of candidates, and the constant score of the answer "none of these".

    coefficients: (feature name, value), in the order of `features.FEATURES`. none_score: natural-log score.
    fitted: False where the values were set by hand. potential: whose energies it was made for. note: where
    it is from. n_pools: pools it was fitted on. ridge: weight of the penalty of the fit.
    """

    coefficients: tuple[tuple[str, float], ...]
    none_score: float
    fitted: bool
    potential: str
    note: str
    n_pools: int = 0
    ridge: float = 0.0

    @property
    def vector(self) -> np.ndarray:
        """Coefficients in the order of the feature columns: (features,)."""
        return np.array([value for _, value in self.coefficients])


@dataclass(frozen=True, eq=False)
class RankExample:
    """One pool whose right answer is known.

    features: (n, features); log_weight: (n,), minus the log of how often the same label led to the same
    crystal. right: (n,), True where the relaxed candidate is the known crystal; nowhere if the pool does
    not hold it.
    """

    features: np.ndarray
    log_weight: np.ndarray
    right: np.ndarray


def default_ranker_file() -> Path:
    """The coefficients that ship with mapcsp."""
    return resource_path(RANKER_RESOURCE)


def load_ranker(path: Path | None = None) -> RankerCoefficients:
    """Read coefficients, by default those that ship; raises StoreError if they do not fit."""
    path = path or default_ranker_file()
    try:
        ranker: RankerCoefficients = from_plain(RankerCoefficients, read_json(path))
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path} does not hold ranker coefficients ({error})") from None
    if tuple(name for name, _ in ranker.coefficients) != NAMES:
        found = [name for name, _ in ranker.coefficients]
        raise StoreError(f"{path}: expected coefficients of {list(NAMES)}, got {found}; fit the ranker again")
    for (name, value), feature in zip(ranker.coefficients, FEATURES):
        if value * feature.sign < 0:
            raise StoreError(f"{path}: {name} is {value}, which has the wrong sign; fit the ranker again")
    return ranker


def save_ranker(path: Path, ranker: RankerCoefficients) -> None:
    """Write coefficients as JSON."""
    write_json(path, ranker)


def log_weights(groups: Sequence[int], label_keys: Sequence[str]) -> np.ndarray:
    """Minus the log of how many candidates of one label relaxed into one crystal: (n,).

    Without it a search that keeps three candidates a label would count its label's probability three times.
    """
    pairs = list(zip(groups, label_keys))
    return -np.log([float(pairs.count(pair)) for pair in pairs])


def log_probabilities(
    features: np.ndarray, log_weight: np.ndarray, ranker: RankerCoefficients
) -> tuple[np.ndarray, float]:
    """Natural-log probability of each candidate, and of "none of these"; they sum to one.

    features: (n, features); log_weight: (n,). Returns ((n,), float).
    """
    scores = features @ ranker.vector + log_weight
    total = logsumexp(np.append(scores, ranker.none_score))
    return scores - total, float(ranker.none_score - total)


def fit_ranker(
    examples: Sequence[RankExample], *, potential: str = "m3gnet", ridge: float = 1.0, note: str = ""
) -> RankerCoefficients:
    """Fit coefficients by maximum conditional likelihood, each with the sign of its feature.

    The likelihood of a pool is the summed probability of its right candidates, or of "none" if it holds
    none. The ridge penalty is on coefficients of features scaled to unit spread, summed over the fit, so it
    fades as pools are added. Raises ValueError without examples.
    """
    if not examples:
        raise ValueError("the ranker needs at least one pool to be fitted on")
    # All pools in one array, each followed by its row for "none", so that a step costs a few array
    # operations.
    n_features = len(FEATURES)
    blank = np.zeros((1, n_features))
    rows = np.concatenate([np.append(example.features, blank, axis=0) for example in examples])
    offset = np.concatenate([np.append(example.log_weight, 0.0) for example in examples])
    right = np.concatenate([np.append(example.right, not np.any(example.right)) for example in examples])
    sizes = np.array([len(example.features) + 1 for example in examples])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    is_none = np.zeros(len(rows), bool)
    is_none[starts + sizes - 1] = True
    spread = rows[~is_none].std(axis=0) if (~is_none).any() else np.zeros(n_features)
    scale = np.where(spread > 1e-9, spread, 1.0)
    rows = rows / scale

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
        value = float((total - correct).sum()) + ridge * float(weights @ weights)
        gradient = np.append(change @ rows + 2 * ridge * weights, change[is_none].sum())
        return value, gradient

    bounds: list[tuple[float | None, float | None]]
    bounds = [(0.0, None) if f.sign > 0 else (None, 0.0) for f in FEATURES] + [(None, None)]
    # A column without spread says nothing; leaving it free would let it drift with the constant.
    bounds[:-1] = [b if s > 1e-9 else (0.0, 0.0) for b, s in zip(bounds[:-1], spread)]
    start = np.append([0.1 * f.sign if s > 1e-9 else 0.0 for f, s in zip(FEATURES, spread)], -2.0)
    result = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 2000})
    values = result.x[:-1] / scale
    return RankerCoefficients(
        coefficients=tuple((name, float(v) + 0.0) for name, v in zip(NAMES, values)),
        none_score=float(result.x[-1]),
        fitted=True,
        potential=potential,
        note=note,
        n_pools=len(examples),
        ridge=ridge,
    )
