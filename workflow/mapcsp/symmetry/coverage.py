"""The space groups to run: the smallest set that is likely to hold the right one."""

from __future__ import annotations

import numpy as np

from mapcsp.settings import SymmetrySettings


def space_groups_to_run(
    groups: np.ndarray, probabilities: np.ndarray, sizes: np.ndarray, settings: SymmetrySettings
) -> frozenset[int]:
    """Space groups to run.

    groups, probabilities, sizes: (n,) each, of all labels, likeliest first; sizes grow with the cell. For each size the
    groups are taken that, among labels no larger, reach `coverage` or `max_space_groups`, and that of the likeliest label:
    larger cells only add groups.
    """
    chosen: set[int] = set()
    for size in np.unique(sizes):
        mine = sizes <= size
        mass = np.bincount(groups[mine], probabilities[mine], 231)
        order = np.argsort(-mass, kind="stable")[: settings.max_space_groups]
        before = np.cumsum(mass[order]) - mass[order]
        chosen.update(order[(mass[order] > 0) & (before < settings.coverage * mass.sum())].tolist())
        # Few labels may be kept, and each search needs one.
        chosen.add(int(groups[mine][0]))
    return frozenset(chosen)


def group_probabilities(groups: np.ndarray, probabilities: np.ndarray) -> tuple[tuple[int, float], ...]:
    """Space groups of some labels (n,) with their share of the labels' probability, likeliest first."""
    mass = np.bincount(groups, probabilities, 231) / probabilities.sum()
    return tuple((int(n), float(mass[n])) for n in np.argsort(-mass, kind="stable") if mass[n] > 0)
