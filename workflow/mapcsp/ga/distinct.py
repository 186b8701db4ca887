"""Which candidates are the same crystal: cheap invariants, compared within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapcsp.crystals import without_hand
from mapcsp.ga import kernels
from mapcsp.ga.pairs import LabelPairs, label_pairs
from mapcsp.records import Candidate, Label
from mapcsp.symmetry.cells import lattice_from_cell

# Root mean square difference of invariants, in units of the edge of a cube that holds one atom, within which two
# candidates are one: about 0.08 Å in a common oxide.
SAME_TOLERANCE = 0.03
# The same for candidates of two space groups, about 0.01 Å. A crystal on its way to a higher symmetry by more than this is
# another phase, and from the more symmetric one, whose forces keep its symmetry, relaxation never comes to it: a
# ferroelectric or tilted perovskite beside the ideal one, alpha quartz beside beta quartz. On held-out formulas this
# keeps half a candidate a formula that the wider tolerance dropped.
SAME_ACROSS_GROUPS = 0.005
# Shortest lattice vectors that enter the invariant beside the distances between atoms.
N_PERIODS = 6


def invariants(pairs: LabelPairs, cells: np.ndarray, free_coords: np.ndarray) -> np.ndarray:
    """What does not depend on axes, origin or numbering: sorted distances of each pair of elements, and lattice vectors.

    cells: (p, 6), exact for the space group; free_coords: (p, f). Returns (p, k), in units of the edge of a cube that
    holds one atom; k depends on the atoms in the cell alone, so that labels of one composition compare.
    """
    lattices = pairs.geometry.primitive_transform @ lattice_from_cell(cells)
    distances, periods = kernels.pair_distances(
        lattices,
        np.ascontiguousarray(free_coords, dtype=float),
        pairs.coord_matrix,
        pairs.coord_offset,
        pairs.first,
        pairs.second,
    )
    columns = [np.sort(periods, axis=1)[:, :N_PERIODS]]
    for start, stop in zip(pairs.group_start[:-1], pairs.group_start[1:]):
        repeated = np.repeat(distances[:, start:stop], pairs.weight[start:stop].astype(int), axis=1)
        columns.append(np.sort(repeated, axis=1))
    edge = np.cbrt(np.abs(np.linalg.det(lattices)) / pairs.geometry.n_atoms)
    # Volumes differ by what relaxation undoes: compare shapes, and volume as one entry among many.
    return np.concatenate([np.concatenate(columns, axis=1) / edge[:, None], np.log(edge)[:, None]], axis=1)


def first_of_each(rows: np.ndarray, limit: int | None = None, tolerance: float = SAME_TOLERANCE) -> list[int]:
    """Indices of rows (p, k) that differ from all rows kept before them, at most `limit`."""
    kept: list[int] = []
    for index in range(len(rows)):
        if kept and np.sqrt(((rows[kept] - rows[index]) ** 2).mean(1)).min() < tolerance:
            continue
        kept.append(index)
        if limit is not None and len(kept) == limit:
            break
    return kept


def candidate_invariants(candidates: Sequence[Candidate]) -> list[np.ndarray]:
    """Invariants of candidates of any labels, in their order."""
    by_label: dict[Label, list[int]] = {}
    for index, candidate in enumerate(candidates):
        by_label.setdefault(candidate.label, []).append(index)
    rows: dict[int, np.ndarray] = {}
    for label, members in by_label.items():
        cells = np.stack([candidates[i].cell for i in members])
        free = np.stack([candidates[i].free_coords for i in members])
        rows.update(zip(members, invariants(label_pairs(label), cells, free)))
    return [rows[i] for i in range(len(candidates))]


def distinct_candidates(candidates: Sequence[Candidate]) -> list[int]:
    """Indices of candidates that are not the same crystal as an earlier one; different cell sizes always differ."""
    rows = candidate_invariants(candidates)
    contents = [sorted(candidate.crystal.species) for candidate in candidates]
    groups = [without_hand(candidate.label.space_group) for candidate in candidates]

    def is_same(a: int, b: int) -> bool:
        tolerance = SAME_TOLERANCE if groups[a] == groups[b] else SAME_ACROSS_GROUPS
        return contents[a] == contents[b] and float(np.sqrt(((rows[a] - rows[b]) ** 2).mean())) < tolerance

    kept: list[int] = []
    for index in range(len(candidates)):
        if not any(is_same(index, k) for k in kept):
            kept.append(index)
    return kept
