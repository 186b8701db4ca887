"""Ranks the relaxed candidates of one formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from mapcsp.composition import units_of
from mapcsp.ranking.duplicates import group_duplicates
from mapcsp.ranking.features import pool_features, rescored_energies
from mapcsp.ranking.model import (
    RankerCoefficients,
    RankExample,
    group_log_probabilities,
    log_probabilities,
    log_weights,
)
from mapcsp.ranking.symmetry_found import FoundSymmetry, find_symmetry
from mapcsp.records import (
    CandidatePool,
    CandidateSummary,
    Crystal,
    FormulaOutcome,
    RankedStructure,
    RelaxedCandidate,
    RelaxedPool,
)
from mapcsp.settings import RankingSettings
from mapcsp.untried import NOTHING_UNTRIED, Untried

# So that a logarithm is finite where next to nothing was tried.
LEAST_TRIED = 1e-9


@dataclass(frozen=True, eq=False)
class AnalysedPool:
    """The candidates of a pool that can be ranked, with all that ranking needs; fields run in parallel.

    positions: (n,), where each stands in the pool. groups: (n,), number of the crystal each one is.
    rescored_ev_per_atom: (n,), by the second potential (see `features.rescored_energies`); None without one.
    features: (n, features); log_weight: (n,).
    """

    positions: tuple[int, ...]
    candidates: tuple[RelaxedCandidate, ...]
    crystals: tuple[Crystal, ...]
    energies_ev_per_atom: np.ndarray
    rescored_ev_per_atom: np.ndarray | None
    symmetries: tuple[FoundSymmetry, ...]
    groups: tuple[int, ...]
    features: np.ndarray
    log_weight: np.ndarray


def analyse_pool(pool: RelaxedPool, symprec_ang: float) -> AnalysedPool:
    """Find symmetry, duplicates and features of the candidates that have a crystal and an energy."""
    positions, usable, crystals, energies = [], [], [], []
    for position, relaxed in enumerate(pool.candidates):
        if (
            relaxed.status != "dropped"
            and relaxed.crystal is not None
            and relaxed.energy_ev_per_atom is not None
        ):
            positions.append(position)
            usable.append(relaxed)
            crystals.append(relaxed.crystal)
            energies.append(relaxed.energy_ev_per_atom)
    symmetries = tuple(find_symmetry(crystal, symprec_ang) for crystal in crystals)
    groups = tuple(group_duplicates(symmetries, energies, symprec_ang))
    return AnalysedPool(
        positions=tuple(positions),
        candidates=tuple(usable),
        crystals=tuple(crystals),
        energies_ev_per_atom=np.array(energies),
        rescored_ev_per_atom=rescored_energies(usable, groups),
        symmetries=symmetries,
        groups=groups,
        features=pool_features(usable, groups),
        log_weight=log_weights(groups, [f"{c.candidate.z}:{c.candidate.label.key}" for c in usable]),
    )


def rank_example(
    pool: RelaxedPool, is_right: Callable[[Crystal], bool], symprec_ang: float
) -> tuple[AnalysedPool, RankExample] | None:
    """Turn a pool whose answer is known into an example for `fit.fit_coefficients`; None if nothing of it can be ranked.

    is_right: whether a relaxed crystal is the known one (`metrics.match.match_rms`); asked once for each
    distinct crystal of the pool, of its lowest-energy candidate.
    """
    analysed = analyse_pool(pool, symprec_ang)
    if not analysed.candidates:
        return None
    verdicts: dict[int, bool] = {}
    for i in np.argsort(analysed.energies_ev_per_atom, kind="stable"):
        if analysed.groups[i] not in verdicts:
            verdicts[analysed.groups[i]] = is_right(analysed.crystals[i])
    right = np.array([verdicts[group] for group in analysed.groups])
    return analysed, RankExample(analysed.features, analysed.log_weight, np.array(analysed.groups), right)


def rank_formula(
    pool: RelaxedPool,
    settings: RankingSettings,
    ranker: RankerCoefficients,
    candidate_pool: CandidatePool | None = None,
) -> FormulaOutcome:
    """Rank the relaxed candidates of one formula; see `rank_pool`, of which it is the first result."""
    return rank_pool(pool, settings, ranker, candidate_pool)[0]


def rank_pool(
    pool: RelaxedPool,
    settings: RankingSettings,
    ranker: RankerCoefficients,
    candidate_pool: CandidatePool | None = None,
    untried: Untried = NOTHING_UNTRIED,
) -> tuple[FormulaOutcome, tuple[CandidateSummary, ...], tuple[FoundSymmetry, ...]]:
    """Rank the relaxed candidates of one formula.

    candidate_pool: what went into relaxation, for its reason and counts when nothing came out of it.
    untried: what the symmetry stage left out; its probability belongs to "none of these".
    Returns the outcome, a summary of every candidate, and the symmetry of each ranked structure, in order
    of rank.
    """
    analysed = analyse_pool(pool, settings.symprec_ang)
    outside = ranker.domain.outside(pool.formula)
    if not analysed.candidates:
        reason = _why_none(pool, candidate_pool)
        outcome = FormulaOutcome(
            pool.formula_id,
            pool.formula,
            "failed",
            reason,
            len(pool.candidates),
            0,
            untried=untried,
            outside_domain=tuple(one.reason for one in outside),
        )
        return outcome, tuple(_summary(pool, r, None, None, None) for r in pool.candidates), ()

    chosen = ranker.of(analysed.rescored_ev_per_atom is not None)
    log_prob, _ = log_probabilities(
        analysed.features, analysed.log_weight, chosen, ranker.domain.shift_of(outside)
    )
    # The ranker takes it that the right cell and label were tried.
    log_prob = log_prob + np.log(max(1.0 - untried.probability, LEAST_TRIED))
    of_group = group_log_probabilities(log_prob, np.array(analysed.groups))
    by_probability = settings.rank_by == "probability"
    sorted_by = None if by_probability else _sorting_energies(analysed, settings.rank_by)
    order = _order(analysed, log_prob, sorted_by)
    lowest = float(analysed.energies_ev_per_atom.min())
    structures, symmetries = [], []
    for rank, members in enumerate(order[: settings.top_k], start=1):
        best = members[0]
        relaxed = _with_second_energy(analysed, members)
        space_group = analysed.symmetries[best].space_group
        energy = float(analysed.energies_ev_per_atom[best])
        total = of_group[analysed.groups[best]]
        structures.append(
            RankedStructure(
                formula_id=pool.formula_id,
                formula=pool.formula,
                rank=rank,
                z=_units_of_the_formula(analysed.symmetries[best].z, pool.formula),
                space_group=space_group,
                probability=float(np.exp(total)) if by_probability else None,
                score=total if sorted_by is None else float(sorted_by.min() - sorted_by[best]),
                formation_energy_ev_per_atom=relaxed.formation_energy_ev_per_atom,
                energy_ev_per_atom=energy,
                energy_above_best_ev_per_atom=energy - lowest,
                relaxed=relaxed,
                merged=len(members) - 1,
                rescored_above_best_ev_per_atom=_rescored_above_best(analysed, best, relaxed),
                energy_uncertainty_ev_per_atom=_disagreement(analysed, best),
                also_space_groups=tuple(
                    sorted({analysed.symmetries[i].space_group for i in members} - {space_group})
                ),
            )
        )
        symmetries.append(analysed.symmetries[best])
    rank_of = {i: rank for rank, members in enumerate(order[: settings.top_k], start=1) for i in members}
    place = {position: i for i, position in enumerate(analysed.positions)}
    summaries = []
    for position, relaxed in enumerate(pool.candidates):
        i = place.get(position)
        if i is None:
            summaries.append(_summary(pool, relaxed, None, None, None))
        else:
            probability = float(np.exp(log_prob[i])) if by_probability else None
            summaries.append(_summary(pool, relaxed, analysed.symmetries[i], probability, rank_of.get(i)))
    outcome = FormulaOutcome(
        pool.formula_id,
        pool.formula,
        "done",
        "",
        len(pool.candidates),
        len(analysed.candidates),
        tuple(structures),
        untried=untried,
        outside_domain=tuple(one.reason for one in outside),
    )
    return outcome, tuple(summaries), tuple(symmetries)


def _with_second_energy(analysed: AnalysedPool, members: Sequence[int]) -> RelaxedCandidate:
    """The first of a phase's members, with the lowest second energy of any of them: not every one was asked."""
    lowest = min(
        (analysed.candidates[i] for i in members),
        key=lambda r: np.inf if r.rescored_energy_ev_per_atom is None else r.rescored_energy_ev_per_atom,
    )
    return dataclasses.replace(
        analysed.candidates[members[0]],
        rescored_energy_ev_per_atom=lowest.rescored_energy_ev_per_atom,
        rescored_by=lowest.rescored_by,
    )


def _rescored_above_best(analysed: AnalysedPool, i: int, relaxed: RelaxedCandidate) -> float | None:
    rescored = analysed.rescored_ev_per_atom
    if rescored is None or relaxed.rescored_energy_ev_per_atom is None:
        return None
    return float(rescored[i] - rescored.min())


def _disagreement(analysed: AnalysedPool, i: int) -> float | None:
    """Difference of the two potentials' energies of one candidate, less the median over the pool's crystals."""
    asked = {
        group: relaxed.rescored_energy_ev_per_atom - energy
        for group, relaxed, energy in zip(
            analysed.groups, analysed.candidates, analysed.energies_ev_per_atom.tolist()
        )
        if relaxed.rescored_energy_ev_per_atom is not None
    }
    if len(asked) < 2 or analysed.groups[i] not in asked:
        return None
    return abs(asked[analysed.groups[i]] - float(np.median(list(asked.values()))))


def _sorting_energies(analysed: AnalysedPool, rank_by: str) -> np.ndarray:
    """The energies to rank by: (n,), eV/atom; the first potential's in a pool without second energies."""
    if rank_by == "rescored_energy" and analysed.rescored_ev_per_atom is not None:
        return analysed.rescored_ev_per_atom
    return analysed.energies_ev_per_atom


def _order(
    analysed: AnalysedPool, log_prob: np.ndarray, sorted_by: np.ndarray | None
) -> list[tuple[int, ...]]:
    """Members of each group, the one of lowest energy, which stands for it, first; groups in order of rank.

    sorted_by: (n,), energies to rank by, eV/atom; None for the probability.
    """
    by_probability = sorted_by is None
    energies = analysed.energies_ev_per_atom if sorted_by is None else sorted_by
    members: dict[int, list[int]] = {}
    for i, group in enumerate(analysed.groups):
        members.setdefault(group, []).append(i)

    def within(i: int) -> tuple[float, float, str]:
        return analysed.energies_ev_per_atom[i], -log_prob[i], analysed.candidates[i].candidate.id

    groups = [tuple(sorted(group, key=within)) for group in members.values()]

    def between(group: Sequence[int]) -> tuple[float, float, str]:
        total, energy = float(logsumexp(log_prob[list(group)])), float(energies[list(group)].min())
        name = analysed.candidates[group[0]].candidate.id
        return (-total, energy, name) if by_probability else (energy, -total, name)

    return sorted(groups, key=between)


def _summary(
    pool: RelaxedPool,
    relaxed: RelaxedCandidate,
    symmetry: FoundSymmetry | None,
    probability: float | None,
    rank: int | None,
) -> CandidateSummary:
    crystal = relaxed.crystal
    return CandidateSummary(
        formula_id=pool.formula_id,
        candidate_id=relaxed.candidate.id,
        label_key=relaxed.candidate.label.key,
        origin=relaxed.candidate.origin,
        status=relaxed.status,
        reason=relaxed.reason,
        energy_ev_per_atom=relaxed.energy_ev_per_atom,
        volume_ang3_per_atom=crystal.volume_ang3 / crystal.n_atoms if crystal is not None else None,
        space_group=symmetry.space_group if symmetry is not None else None,
        probability=probability,
        rank=rank,
    )


def _why_none(pool: RelaxedPool, candidate_pool: CandidatePool | None) -> str:
    if pool.candidates:
        counts: dict[str, int] = {}
        for relaxed in pool.candidates:
            cause = relaxed.reason or f"{relaxed.status} without an energy"
            counts[cause] = counts.get(cause, 0) + 1
        causes = "; ".join(
            f"{n} x {cause}" for cause, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:3]
        )
        return f"none of the {len(pool.candidates)} candidates survived relaxation: {causes}"
    if candidate_pool is not None and candidate_pool.reason:
        return candidate_pool.reason
    if candidate_pool is not None and candidate_pool.dropped:
        causes = "; ".join(f"{n} x {cause}" for cause, n in candidate_pool.dropped)
        return f"the search left no candidate to relax: {causes}"
    return "the search found no candidate"


def _units_of_the_formula(z: int, formula: str) -> float:
    """Units of a formula as its author wrote it in a cell of `z` reduced ones.

    Relaxation may halve a cell: rock salt of one Na and one O has z = 0.5 of Na2O2.
    """
    units = units_of(formula)
    return z / units if z % units else z // units
