"""A small calibrated model of which candidate is right: a conditional logit with signs that physics fixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from mapcsp.errors import StoreError
from mapcsp.ranking.domain import KINDS, Domain
from mapcsp.ranking.features import FEATURES, NAMES
from mapcsp.registry import registered_model
from mapcsp.store import from_plain, read_json, write_json


@dataclass(frozen=True)
class CoefficientSet:
    """Linear scores of candidates, and the constant score of the answer "none of these".

    coefficients: (feature name, value), in the order of `features.FEATURES`. none_score: natural-log score.
    """

    coefficients: tuple[tuple[str, float], ...]
    none_score: float

    @property
    def vector(self) -> np.ndarray:
        """Coefficients in the order of the feature columns: (features,)."""
        return np.array([value for _, value in self.coefficients])


@dataclass(frozen=True)
class RankerCoefficients:
    """The ranking model: one set of coefficients for pools without second energies, one for pools with them.

    potential, second_potential: whose energies it was fitted on. n_pools: pools it was fitted on. note: where
    it is from. domain: which formulas it can be trusted on.
    """

    without_rescore: CoefficientSet
    with_rescore: CoefficientSet
    potential: str
    second_potential: str
    n_pools: int
    note: str
    domain: Domain

    def of(self, has_rescored: bool) -> CoefficientSet:
        """The set for a pool."""
        return self.with_rescore if has_rescored else self.without_rescore


@dataclass(frozen=True, eq=False)
class RankExample:
    """One pool whose right answer is known.

    features: (n, features); log_weight: (n,), minus the log of how often the same label led to the same
    crystal. groups: (n,), number of the crystal each candidate is. right: (n,), True where the relaxed
    candidate is the known crystal; nowhere if the pool does not hold it.
    """

    features: np.ndarray
    log_weight: np.ndarray
    groups: np.ndarray
    right: np.ndarray


def default_ranker_file() -> Path:
    """The coefficients that ship with mapcsp."""
    (coefficients,) = registered_model("ranker", "ranker").files
    return coefficients


def load_ranker(path: Path | None = None) -> RankerCoefficients:
    """Read coefficients, by default those that ship; raises StoreError if they do not fit."""
    path = path or default_ranker_file()
    try:
        ranker: RankerCoefficients = from_plain(RankerCoefficients, read_json(path))
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path} does not hold ranker coefficients ({error})") from None
    for chosen in (ranker.without_rescore, ranker.with_rescore):
        found = [name for name, _ in chosen.coefficients]
        if found != list(NAMES):
            raise StoreError(
                f"{path}: expected coefficients of {list(NAMES)}, got {found}; fit the ranker again"
            )
        for (name, value), feature in zip(chosen.coefficients, FEATURES):
            if value * feature.sign < 0:
                raise StoreError(f"{path}: {name} is {value}, which has the wrong sign; fit the ranker again")
    shifts = ranker.domain.none_shift
    if [kind for kind, _ in shifts] != list(KINDS) or min(shift for _, shift in shifts) < 0:
        raise StoreError(
            f"{path}: expected none_shift of at least 0 for {list(KINDS)}, got {list(shifts)}; fit the ranker again"
        )
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
    features: np.ndarray, log_weight: np.ndarray, chosen: CoefficientSet, none_shift: float = 0.0
) -> tuple[np.ndarray, float]:
    """Natural-log probability of each candidate, and of "none of these"; they sum to one.

    features: (n, features); log_weight: (n,). none_shift: see `Domain`. Returns ((n,), float).
    """
    return normalise(features @ chosen.vector + log_weight, chosen.none_score + none_shift)


def normalise(scores: np.ndarray, none_score: float) -> tuple[np.ndarray, float]:
    """Natural-log probabilities from the scores (n,) of the candidates and that of "none"."""
    total = logsumexp(np.append(scores, none_score))
    return scores - total, float(none_score - total)


def group_log_probabilities(log_prob: np.ndarray, groups: np.ndarray) -> dict[int, float]:
    """Natural-log probability of each crystal of a pool: that of its candidates together.

    log_prob, groups: (n,).
    """
    return {int(g): float(logsumexp(log_prob[groups == g])) for g in np.unique(groups)}
