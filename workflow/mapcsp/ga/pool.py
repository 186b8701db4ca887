"""The pool stage: merges the searches of a formula into the candidates that are relaxed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mapcsp.crystals import distance_matrix, reduce_lattice
from mapcsp.elements import covalent_radius_ang
from mapcsp.errors import StoreError
from mapcsp.ga.distinct import distinct_candidates
from mapcsp.ga.score import candidate_score
from mapcsp.provenance import value_hash, versions
from mapcsp.records import Candidate, CandidatePool, Crystal, TaskResult
from mapcsp.settings import PoolSettings, read_section
from mapcsp.store import read_header, read_records, write_records
from mapcsp.symmetry.no_larger import best_of_no_larger


def pool_candidates(results: Sequence[TaskResult], settings: PoolSettings) -> CandidatePool:
    """Merge the searches of one formula: no clashes, no duplicates, the best `settings.size` by `candidate_score`.

    A candidate is kept that has fewer than `size` better ones in cells no larger than its own: larger cells only add.
    results: all of one formula, which must be at least one. The rank of each label is counted anew over all searches.
    Raises ValueError if results of two formulas are mixed.
    """
    formula_ids = {r.formula_id for r in results}
    if len(formula_ids) != 1:
        raise ValueError(f"one formula expected, got {sorted(formula_ids)}")
    everything = [c for r in sorted(results, key=lambda r: r.task_id) for c in r.candidates]
    ranked = _with_label_ranks(everything)
    sound = [c for c in ranked if shortest_distance_ratio(c.crystal) >= settings.min_distance_ratio]
    ordered = _by_score(sound)
    distinct = _by_score([ordered[i] for i in distinct_candidates(ordered)])
    kept = [distinct[i] for i in best_of_no_larger([c.z for c in distinct], settings.size)]
    dropped = (
        ("clash", len(ranked) - len(sound)),
        ("duplicate", len(sound) - len(distinct)),
        ("beyond_size", len(distinct) - len(kept)),
    )
    formula_id = formula_ids.pop()
    if not kept:
        return CandidatePool(
            formula_id, _formula(everything), (), dropped, "failed", _reason(results, dropped)
        )
    return CandidatePool(formula_id, kept[0].formula, tuple(kept), dropped)


def _with_label_ranks(candidates: Sequence[Candidate]) -> list[Candidate]:
    labels = {(-c.label_log_prob, c.label.key) for c in candidates}
    ranks = {key: rank for rank, (_, key) in enumerate(sorted(labels))}
    return [dataclasses.replace(c, label_rank=ranks[c.label.key]) for c in candidates]


def _by_score(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Best first; the order within a label stays as the search gave it."""
    seen: dict[str, int] = {}
    scored = []
    for candidate in candidates:
        position = seen.get(candidate.label.key, 0)
        seen[candidate.label.key] = position + 1
        score = candidate_score(candidate.label_log_prob, position, candidate.fitness.total)
        scored.append((-score, candidate.label_rank, position, candidate))
    return [c for *_, c in sorted(scored, key=lambda s: s[:3])]


def shortest_distance_ratio(crystal: Crystal) -> float:
    """Shortest distance, own images included, as a share of the sum of the two covalent radii."""
    radii = np.array([covalent_radius_ang(s) for s in crystal.species])
    reduced, _ = reduce_lattice(crystal.lattice_ang)
    ratios = distance_matrix(crystal) / (radii[:, None] + radii)
    np.fill_diagonal(ratios, np.linalg.norm(reduced, axis=1).min() / (2 * radii))
    return float(ratios.min())


def _formula(candidates: Sequence[Candidate]) -> str:
    return candidates[0].formula if candidates else ""


def _reason(results: Sequence[TaskResult], dropped: tuple[tuple[str, int], ...]) -> str:
    if dropped[0][1]:
        return f"all {dropped[0][1]} candidates have atoms too close to each other"
    reasons = sorted({r.reason for r in results if r.reason})
    return "no search gave a candidate" + (f" ({'; '.join(reasons)})" if reasons else "")


def run_pool(result_files: list[Path], formula_ids: list[str], settings_file: Path, output: Path) -> None:
    """Write one CandidatePool for each formula, in the order of `formula_ids`.

    result_files: TaskResult records; results of other formulas in them are passed over. A formula without any result
    gets an empty pool with a reason. Raises StoreError if a task occurs twice.
    """
    settings = read_section(settings_file, PoolSettings)
    wanted: dict[str, list[TaskResult]] = {formula_id: [] for formula_id in formula_ids}
    seen: dict[str, Path] = {}
    for file in sorted(set(result_files)):
        for result in read_records(file, TaskResult):
            if result.task_id in seen:
                raise StoreError(
                    f"{file}: task {result.task_id} is also in {seen[result.task_id]}; delete one"
                )
            seen[result.task_id] = file
            if result.formula_id in wanted:
                wanted[result.formula_id].append(result)
    pools = [
        pool_candidates(results, settings)
        if results
        else CandidatePool(formula_id, "", (), (), "failed", "no space group to search fits the formula")
        for formula_id, results in wanted.items()
    ]
    write_records(
        output,
        CandidatePool,
        pools,
        settings=value_hash(settings.model_dump(mode="json")),
        versions=versions(headers=map(read_header, result_files)),
    )
