"""Fits the ranking's coefficients on pools of training formulas predicted out of fold, and says how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from mapcsp.metrics.calibration import calibration_noise_floor, expected_calibration_error
from mapcsp.ranking.features import NAMES
from mapcsp.ranking.fit import fit_coefficients
from mapcsp.ranking.model import (
    CoefficientSet,
    RankerCoefficients,
    RankExample,
    group_log_probabilities,
    normalise,
    save_ranker,
)
from mapcsp.settings import Settings
from mapcsp.store import write_json
from mapcsp.training.ranker.card import write_ranker_card
from mapcsp.training.ranker.pools import MatchedPool, choose_targets, matched_pools

MAX_ATOMS = 20
FOLDS, REPEATS = 10, 3


_DETAILS = ("map_log_likelihood", "log_prototype_count", "log_found_again")
WITHOUT_RESCORE = {
    "label": ("label_log_prob",),
    "label_and_energy": ("label_log_prob", "energy_above"),
    "chosen": ("label_log_prob", "energy_above", *_DETAILS),
    "all": tuple(name for name in NAMES if name != "rescored_above"),
}
"""Terms of the models that are compared; `chosen` ships."""
# The first potential's energy says nothing beside the second's: its coefficient is 0 within its error.
WITH_RESCORE = {
    "label_and_energy": ("label_log_prob", "rescored_above"),
    "chosen": ("label_log_prob", "rescored_above", *_DETAILS),
    "all": NAMES,
}


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a model that did not see a pool says of it.

    linear: (n,), scores without the log weight; none_score: of "none". example: the pool.
    """

    linear: np.ndarray
    none_score: float
    example: RankExample


@dataclass(frozen=True)
class Judgement:
    """One pool under one model: its log-likelihood, the claim for the first answer, and whether that was right."""

    log_likelihood: float
    claimed: float
    right: bool


def example_of(pool: MatchedPool) -> RankExample:
    """A matched pool as the fit takes it."""
    return RankExample(pool.features, pool.log_weight, np.array(pool.groups), np.array(pool.right, bool))


def out_of_fold(examples: Sequence[RankExample], terms: Sequence[str]) -> list[OutOfFold]:
    """Scores of each pool by models fitted on nine tenths of the others, REPEATS times with other folds."""
    found = []
    for repeat in range(REPEATS):
        fold = np.random.default_rng(repeat).permutation(len(examples)) % FOLDS
        for k in range(FOLDS):
            seen = [examples[i] for i in np.flatnonzero(fold != k).tolist()]
            fitted = fit_coefficients(seen, terms)
            for i in np.flatnonzero(fold == k).tolist():
                linear = examples[i].features @ fitted.vector
                found.append(OutOfFold(linear, fitted.none_score, examples[i]))
    return found


def judge(scored: OutOfFold, temperature: float = 1.0, none_shift: float = 0.0) -> Judgement:
    """A pool's judgement, the scores divided by a temperature and that of "none" shifted."""
    example = scored.example
    log_prob, log_none = normalise(
        scored.linear / temperature + example.log_weight, scored.none_score / temperature + none_shift
    )
    of_group = group_log_probabilities(log_prob, example.groups)
    first = max(of_group, key=lambda group: (of_group[group], -group))
    likelihood = float(logsumexp(log_prob[example.right])) if example.right.any() else log_none
    right = bool(example.right[example.groups == first][0])
    return Judgement(likelihood, float(np.exp(of_group[first])), right)


def calibrate(scored: Sequence[OutOfFold]) -> tuple[float, float]:
    """Temperature and shift of the score of "none" that make predictions out of fold likeliest.

    A fit on few pools is too sure of itself; on pools that it did not see one learns by how much.
    """
    linear = np.concatenate([np.append(s.linear, s.none_score) for s in scored])
    weight = np.concatenate([np.append(s.example.log_weight, 0.0) for s in scored])
    right = np.concatenate([np.append(s.example.right, not s.example.right.any()) for s in scored])
    sizes = np.array([len(s.linear) + 1 for s in scored])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    is_none = np.zeros(len(linear), bool)
    is_none[starts + sizes - 1] = True

    def loss(parameters: np.ndarray) -> float:
        temperature, shift = float(np.exp(parameters[0])), float(parameters[1])
        # Scores stay within some tens; the bound is for a search that strays.
        parts = np.exp(np.minimum(linear / temperature + weight + shift * is_none, 100.0))
        outcome = np.add.reduceat(parts * right, starts) / np.add.reduceat(parts, starts)
        return -float(np.log(np.maximum(outcome, 1e-300)).sum())

    # The simplex of the default is too small for a start at zero.
    simplex = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.5]])
    options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 0.05}
    best = minimize(loss, simplex[0], method="Nelder-Mead", options=options).x
    return float(np.exp(best[0])), float(best[1])


def fit_calibrated(
    examples: Sequence[RankExample], terms: Sequence[str], temperature: float, none_shift: float
) -> CoefficientSet:
    """Fit on all pools; temperature and none_shift as `calibrate` found them out of fold."""
    fitted = fit_coefficients(examples, terms)
    return CoefficientSet(
        tuple((name, value / temperature) for name, value in fitted.coefficients),
        fitted.none_score / temperature + none_shift,
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """The ranking model that ships, and figures of it and of others, as flat keys; shares are fractions of 1."""

    without_rescore: CoefficientSet
    with_rescore: CoefficientSet
    figures: dict[str, float | int]


def fit_pools(pools: Sequence[MatchedPool]) -> Fit:
    """Fit both sets of coefficients and compare all models on pools out of fold."""
    asked = [pool for pool in pools if pool.rescored_ev_per_atom is not None]
    figures: dict[str, float | int] = {
        "pools": len(pools),
        "pools_with_second_energies": len(asked),
        "right_in_pool": _share([any(p.right) for p in pools]),
        "first_by_label_before_relaxation": _share([p.first_label_right for p in pools]),
        "first_by_energy": _share([p.right[int(np.argmin(p.energy_ev_per_atom))] for p in pools]),
        "first_by_rescored_energy": _share(
            [
                p.right[int(np.argmin(p.rescored_ev_per_atom))]
                for p in asked
                if p.rescored_ev_per_atom is not None
            ]
        ),
    }
    chosen = []
    for kind, models, used in (("without", WITHOUT_RESCORE, pools), ("with", WITH_RESCORE, asked)):
        examples = [example_of(pool) for pool in used]
        for name, terms in models.items():
            scored = out_of_fold(examples, terms)
            found = [judge(s) for s in scored]
            key = f"{kind}_rescore_{name}"
            figures[f"{key}_first"] = _share([j.right for j in found])
            figures[f"{key}_log_likelihood"] = round(float(np.mean([j.log_likelihood for j in found])), 4)
            if name == "chosen":
                temperature, none_shift = calibrate(scored)
                figures |= _calibration(key, scored, temperature, none_shift)
                chosen.append(fit_calibrated(examples, terms, temperature, none_shift))
    return Fit(chosen[0], chosen[1], figures)


def _calibration(
    key: str, scored: Sequence[OutOfFold], temperature: float, none_shift: float
) -> dict[str, float | int]:
    # One repetition: each pool once, as on new formulas.
    once = [judge(s, temperature, none_shift) for s in scored[: len(scored) // REPEATS]]
    claimed = [j.claimed for j in once]
    floor, floor_95 = calibration_noise_floor(claimed)
    return {
        f"{key}_temperature": round(temperature, 3),
        f"{key}_calibration_error": round(expected_calibration_error(claimed, [j.right for j in once]), 4),
        f"{key}_calibration_error_by_chance": round(floor, 4),
        f"{key}_calibration_error_by_chance_95": round(floor_95, 4),
        f"{key}_mean_claim": round(float(np.mean(claimed)), 4),
    }


def _share(hits: Sequence[bool]) -> float:
    return round(float(np.mean(hits)), 4)


def run_train_ranker(
    tables: Sequence[Path], work_dir: Path, output: Path, count: int, settings: Settings, processes: int = 1
) -> None:
    """Fit on `count` formulas that no network was trained on, with their own crystals hidden.

    work_dir: encoded tables and pools, from which a stopped run goes on. Writes coefficients.json, metrics.json and card.md.
    Raises UserError if the second potential's package is not installed.
    """
    targets = choose_targets(tables, work_dir, MAX_ATOMS, count, seed=1)
    pools = matched_pools(targets, settings, work_dir / "pools", processes)
    fit = fit_pools(pools)
    ranker = RankerCoefficients(
        without_rescore=fit.without_rescore,
        with_rescore=fit.with_rescore,
        potential=settings.relax.potential,
        second_potential="sevennet-l3i5",
        n_pools=len(pools),
        note=(
            f"Fitted on {len(pools)} training formulas (at most {MAX_ATOMS} atoms, z given) that no network was trained on, "
            "their own crystals hidden from the memory of labels."
        ),
    )
    save_ranker(output / "coefficients.json", ranker)
    write_json(output / "metrics.json", fit.figures)
    write_ranker_card(output, ranker, fit.figures, [table.name for table in tables])
