"""Fits the ranking's coefficients on pools of training formulas predicted out of fold, and says how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from mapcsp.metrics.calibration import calibration_noise_floor, expected_calibration_error
from mapcsp.metrics.match import wilson_interval
from mapcsp.ranking.domain import KINDS
from mapcsp.ranking.features import LARGEST_ERROR_EV_PER_ATOM, NAMES
from mapcsp.ranking.fit import fit_coefficients
from mapcsp.ranking.model import (
    CoefficientSet,
    RankerCoefficients,
    RankExample,
    group_log_probabilities,
    normalise,
    save_ranker,
)
from mapcsp.registry import registered_model
from mapcsp.settings import Settings
from mapcsp.store import write_json
from mapcsp.symmetry.model import load_model
from mapcsp.training.ranker.card import write_ranker_card
from mapcsp.training.ranker.pools import MatchedPool, choose_targets, matched_pools, relaxed_pools
from mapcsp.training.ranker.unseen import choose_unseen, domain_of

MAX_ATOMS = 20
FOLDS, REPEATS = 10, 3
FAR_ABOVE_EV_PER_ATOM = 0.25
"""First answers further above their pool's lowest energy than this are counted."""

_DETAILS = ("map_log_likelihood", "log_prototype_count", "log_found_again")
WITHOUT_RESCORE = {
    "label": ("label_log_prob",),
    "label_and_energy": ("label_log_prob", "energy_above", "energy_excess"),
    "saturating": ("label_log_prob", "energy_above", *_DETAILS),
    "chosen": ("label_log_prob", "energy_above", "energy_excess", *_DETAILS),
    "all": tuple(name for name in NAMES if not name.startswith("rescored")),
}
"""Terms of the models that are compared; `chosen` ships."""
# Within the potentials' errors the first's energy says nothing beside the second's: its coefficient is 0 within its error.
# Beyond them, what either puts far above the rest is doubted.
WITH_RESCORE = {
    "label_and_energy": ("label_log_prob", "rescored_above", "rescored_excess"),
    "saturating": ("label_log_prob", "rescored_above", *_DETAILS),
    "chosen": ("label_log_prob", "rescored_above", "rescored_excess", "energy_excess", *_DETAILS),
    "all": NAMES,
}
# Nobody knows a kind of formula so badly from some tens of pools that the odds should change by more than about e to this.
SHIFT_SPREAD = 3.0


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a model that did not see a pool says of it.

    linear: (n,), scores without the log weight; none_score: of "none".
    """

    linear: np.ndarray
    none_score: float
    pool: MatchedPool


@dataclass(frozen=True)
class Judgement:
    """One pool under one model.

    log_likelihood: of what is right. claimed: the probability of the first answer; right: whether it is the known crystal's
    phase, matches: whether the loose matcher calls it the known crystal. above_ev_per_atom: its energy above the pool's
    lowest, by the potential that relaxes.
    """

    log_likelihood: float
    claimed: float
    right: bool
    matches: bool
    above_ev_per_atom: float


def example_of(pool: MatchedPool) -> RankExample:
    """A matched pool as the fit takes it."""
    return RankExample(pool.features, pool.log_weight, np.array(pool.groups), np.array(pool.right, bool))


def out_of_fold(pools: Sequence[MatchedPool], terms: Sequence[str]) -> list[OutOfFold]:
    """Scores of each pool by models fitted on nine tenths of the others, REPEATS times with other folds."""
    found = []
    examples = [example_of(pool) for pool in pools]
    for repeat in range(REPEATS):
        fold = np.random.default_rng(repeat).permutation(len(examples)) % FOLDS
        for k in range(FOLDS):
            seen = [examples[i] for i in np.flatnonzero(fold != k).tolist()]
            fitted = fit_coefficients(seen, terms)
            found += [score_pool(pools[i], fitted) for i in np.flatnonzero(fold == k).tolist()]
    return found


def score_pool(pool: MatchedPool, fitted: CoefficientSet) -> OutOfFold:
    """A pool under coefficients that were not fitted on it."""
    return OutOfFold(pool.features @ fitted.vector, fitted.none_score, pool)


def judge(scored: OutOfFold, temperature: float = 1.0, none_shift: float = 0.0) -> Judgement:
    """A pool's judgement, the scores divided by a temperature and that of "none" shifted."""
    pool = scored.pool
    log_prob, log_none = normalise(
        scored.linear / temperature + pool.log_weight, scored.none_score / temperature + none_shift
    )
    groups, right = np.array(pool.groups), np.array(pool.right, bool)
    of_group = group_log_probabilities(log_prob, groups)
    first = max(of_group, key=lambda group: (of_group[group], -group))
    members = np.flatnonzero(groups == first)
    # Members of a group are judged by its lowest, which stands for it.
    lowest = int(members[np.argmin(pool.energy_ev_per_atom[members])])
    return Judgement(
        float(logsumexp(log_prob[right])) if right.any() else log_none,
        float(np.exp(of_group[first])),
        bool(right[members].any()),
        bool(pool.matches[lowest]),
        float(pool.energy_ev_per_atom[lowest] - pool.energy_ev_per_atom.min()),
    )


def calibrate(scored: Sequence[OutOfFold]) -> tuple[float, float]:
    """Temperature and shift of the score of "none" that make the claims for first answers out of fold likeliest.

    A fit on few pools is too sure of itself; on pools that it did not see one learns by how much. The claim is judged as the
    benchmark judges it, by the loose matcher, for which two phases can both be right; so it differs from the share that the
    fit gives to one of them.
    """

    claims = _Claims(scored)

    def loss(parameters: np.ndarray) -> float:
        return -claims.log_likelihood(float(np.exp(parameters[0])), float(parameters[1]))

    # The simplex of the default is too small for a start at zero.
    simplex = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.5]])
    options = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 0.05}
    best = minimize(loss, simplex[0], method="Nelder-Mead", options=options).x
    return float(np.exp(best[0])), float(best[1])


class _Claims:
    """The claims for the first answers of many pools, all at once; candidates by pool and group."""

    def __init__(self, scored: Sequence[OutOfFold]) -> None:
        orders = [np.argsort(s.pool.groups, kind="stable") for s in scored]
        self._linear = np.concatenate([s.linear[o] for s, o in zip(scored, orders)])
        self._weight = np.concatenate([s.pool.log_weight[o] for s, o in zip(scored, orders)])
        self._none = np.array([s.none_score for s in scored])
        groups = [np.array(s.pool.groups)[o] for s, o in zip(scored, orders)]
        starts = [np.flatnonzero(np.diff(g, prepend=g[0] - 1)) for g in groups]
        firsts = np.cumsum([0, *(len(g) for g in groups[:-1])])
        self._group_start = np.concatenate([s + first for s, first in zip(starts, firsts)])
        self._n_groups = np.array([len(s) for s in starts])
        self._pool_start = np.cumsum([0, *self._n_groups[:-1]])
        matches = [np.array(s.pool.matches, bool)[o][g] for s, o, g in zip(scored, orders, starts)]
        self._matches = np.concatenate(matches)

    def log_likelihood(self, temperature: float, none_shift: float) -> float:
        """Summed natural log of the probability that the claims give to what the first answers were."""
        score = np.logaddexp.reduceat(self._linear / temperature + self._weight, self._group_start)
        best = np.maximum.reduceat(score, self._pool_start)
        none = self._none / temperature + none_shift
        total = np.logaddexp(np.logaddexp.reduceat(score, self._pool_start), none)
        claimed = np.clip(np.exp(best - total), 1e-9, 1 - 1e-9)
        is_first = score == np.repeat(best, self._n_groups)
        right = np.maximum.reduceat(is_first & self._matches, self._pool_start)
        return float(np.log(np.where(right, claimed, 1 - claimed)).sum())


def fit_calibrated(
    examples: Sequence[RankExample], terms: Sequence[str], temperature: float, none_shift: float
) -> CoefficientSet:
    """Fit on all pools; temperature and none_shift as `calibrate` found them out of fold."""
    fitted = fit_coefficients(examples, terms)
    return CoefficientSet(
        tuple((name, value / temperature) for name, value in fitted.coefficients),
        fitted.none_score / temperature + none_shift,
    )


def fit_none_shift(scored: Sequence[OutOfFold]) -> float:
    """By how much the score of "none" has to rise on pools of one kind, at least 0; 0 without pools.

    The one that makes the claims for first answers likeliest, with a normal prior of SHIFT_SPREAD about 0.
    """
    if not scored:
        return 0.0
    claims = _Claims(scored)

    def loss(shift: float) -> float:
        return 0.5 * (shift / SHIFT_SPREAD) ** 2 - claims.log_likelihood(1.0, shift)

    return float(minimize_scalar(loss, bounds=(0.0, 4 * SHIFT_SPREAD), method="bounded").x)


@dataclass(frozen=True, eq=False)
class Fit:
    """The ranking model that ships, and figures of it and of others, as flat keys; shares are fractions of 1.

    none_shift: (kind of formula, shift), see `ranking.domain.Domain`.
    """

    without_rescore: CoefficientSet
    with_rescore: CoefficientSet
    none_shift: tuple[tuple[str, float], ...]
    figures: dict[str, float | int]


def fit_pools(pools: Sequence[MatchedPool], unseen: Sequence[MatchedPool] = ()) -> Fit:
    """Fit both sets of coefficients and compare all models on pools out of fold.

    unseen: pools of formulas of other kinds, for the shifts of "none of these".
    """
    asked = [pool for pool in pools if pool.rescored_ev_per_atom is not None]
    figures: dict[str, float | int] = {
        "pools": len(pools),
        "pools_with_second_energies": len(asked),
        "right_in_pool": _share([any(p.matches) for p in pools]),
    }
    heights = [_lowest_match(p) for p in pools if any(p.matches)]
    beyond = sum(height > LARGEST_ERROR_EV_PER_ATOM for height in heights)
    figures["pools_with_known_crystal_beyond_error"] = beyond
    figures["right_above_lowest_q90_ev_per_atom"] = round(float(np.quantile(heights, 0.9)), 4)
    figures |= _first("first_by_label_before_relaxation", [p.first_label_right for p in pools])
    figures |= _first("first_by_energy", [p.matches[int(np.argmin(p.energy_ev_per_atom))] for p in pools])
    figures |= _first(
        "first_by_rescored_energy",
        [
            p.matches[int(np.argmin(p.rescored_ev_per_atom))]
            for p in asked
            if p.rescored_ev_per_atom is not None
        ],
    )
    chosen: dict[str, CoefficientSet] = {}
    for kind, models, used in (("without", WITHOUT_RESCORE, pools), ("with", WITH_RESCORE, asked)):
        for name, terms in models.items():
            scored = out_of_fold(used, terms)
            key = f"{kind}_rescore_{name}"
            figures |= _figures(key, [judge(s) for s in scored], len(used))
            if name == "chosen":
                temperature, none_shift = calibrate(scored)
                figures |= _calibration(key, scored, temperature, none_shift)
                examples = [example_of(pool) for pool in used]
                chosen[kind] = fit_calibrated(examples, terms, temperature, none_shift)
    shifts = []
    for kind in KINDS:
        mine = [pool for pool in unseen if pool.outside == kind]
        scored = [
            score_pool(p, chosen["with" if p.rescored_ev_per_atom is not None else "without"]) for p in mine
        ]
        shifts.append((kind, round(fit_none_shift(scored), 3)))
        figures |= _outside_figures(kind, scored, shifts[-1][1])
    return Fit(chosen["without"], chosen["with"], tuple(shifts), figures)


def _lowest_match(pool: MatchedPool) -> float:
    above = pool.energy_ev_per_atom - pool.energy_ev_per_atom.min()
    return float(above[np.array(pool.matches, bool)].min())


def _figures(key: str, found: Sequence[Judgement], n_pools: int) -> dict[str, float | int]:
    """Means over all repetitions; the interval is that of as many answers as there are pools."""
    first = float(np.mean([j.matches for j in found]))
    low, high = wilson_interval(round(first * n_pools), n_pools)
    return {
        f"{key}_first": round(first, 4),
        f"{key}_first_low": round(low, 4),
        f"{key}_first_high": round(high, 4),
        f"{key}_first_phase": _share([j.right for j in found]),
        f"{key}_far_above": _share([j.above_ev_per_atom > FAR_ABOVE_EV_PER_ATOM for j in found]),
        f"{key}_log_likelihood": round(float(np.mean([j.log_likelihood for j in found])), 4),
    }


def _first(key: str, hits: Sequence[bool]) -> dict[str, float | int]:
    low, high = wilson_interval(sum(hits), len(hits))
    return {key: _share(hits), f"{key}_low": round(low, 4), f"{key}_high": round(high, 4)}


def _outside_figures(kind: str, scored: Sequence[OutOfFold], shift: float) -> dict[str, float | int]:
    before, after = [judge(s) for s in scored], [judge(s, none_shift=shift) for s in scored]
    figures: dict[str, float | int] = {f"{kind}_pools": len(scored)}
    if scored:
        figures |= {
            f"{kind}_right_in_pool": _share([any(s.pool.matches) for s in scored]),
            f"{kind}_first": _share([j.matches for j in after]),
            f"{kind}_first_phase": _share([j.right for j in after]),
            f"{kind}_mean_claim_before": round(float(np.mean([j.claimed for j in before])), 4),
            f"{kind}_mean_claim": round(float(np.mean([j.claimed for j in after])), 4),
            f"{kind}_far_above": _share([j.above_ev_per_atom > FAR_ABOVE_EV_PER_ATOM for j in after]),
        }
    return figures


def _calibration(
    key: str, scored: Sequence[OutOfFold], temperature: float, none_shift: float
) -> dict[str, float | int]:
    # One repetition: each pool once, as on new formulas.
    once = [judge(s, temperature, none_shift) for s in scored[: len(scored) // REPEATS]]
    claimed = [j.claimed for j in once]
    floor, floor_95 = calibration_noise_floor(claimed)
    return {
        f"{key}_temperature": round(temperature, 3),
        f"{key}_calibration_error": round(expected_calibration_error(claimed, [j.matches for j in once]), 4),
        f"{key}_calibration_error_phase": round(
            expected_calibration_error(claimed, [j.right for j in once]), 4
        ),
        f"{key}_calibration_error_by_chance": round(floor, 4),
        f"{key}_calibration_error_by_chance_95": round(floor_95, 4),
        f"{key}_mean_claim": round(float(np.mean(claimed)), 4),
    }


def _share(hits: Sequence[bool]) -> float:
    return round(float(np.mean(hits)), 4)


def run_train_ranker(
    tables: Sequence[Path],
    unseen_tables: Sequence[Path],
    work_dir: Path,
    output: Path,
    count: int,
    unseen_count: int,
    settings: Settings,
    processes: int = 1,
) -> None:
    """Fit on `count` formulas that no network was trained on, with their own crystals hidden.

    unseen_tables: where formulas of kinds that the networks have not learned from are drawn, at most `unseen_count` of each.
    work_dir: encoded tables and pools, from which a stopped run goes on. Writes coefficients.json, metrics.json and card.md.
    Raises UserError if the second potential's package is not installed.
    """
    memory = load_model(registered_model(settings.symmetry.model, "symmetry.model").folder).memory
    domain, symprec_ang = domain_of(memory), settings.ranking.symprec_ang
    targets = choose_targets(tables, work_dir, MAX_ATOMS, count, seed=1)
    others = choose_unseen(unseen_tables, memory, domain, MAX_ATOMS, unseen_count, seed=1)
    relaxed = relaxed_pools(targets, settings, work_dir / "pools", processes)
    relaxed_others = relaxed_pools(others, settings, work_dir / "pools", processes)
    pools = matched_pools(targets, relaxed, symprec_ang, domain)
    fit = fit_pools(pools, matched_pools(others, relaxed_others, symprec_ang, domain))
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
        domain=replace(domain, none_shift=fit.none_shift),
    )
    save_ranker(output / "coefficients.json", ranker)
    write_json(output / "metrics.json", fit.figures)
    write_ranker_card(output, ranker, fit.figures, [t.name for t in tables], [t.name for t in unseen_tables])
