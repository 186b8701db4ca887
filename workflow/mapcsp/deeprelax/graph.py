"""Crystals as multigraphs (arXiv:2404.00865, section 4.2), many in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from mapcsp.elements import atomic_number
from mapcsp.records import Crystal


@dataclass(frozen=True)
class GraphSettings:
    """What is an edge.

    cutoff_ang: longest edge. neighbours: edges of an atom, the nearest first; a whole shell of equal distances is kept or
    left out, so that symmetric atoms have symmetric edges. (The paper's code takes 30 besides 20 within the cell; fewer cost
    a CPU less time.)
    """

    cutoff_ang: float = 6.0
    neighbours: int = 20


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Multigraphs of b crystals with n atoms and e edges in all.

    numbers: (n,), atomic numbers. crystal: (n,), index of each atom's crystal. starts: (b + 1,), first atom of each.
    lattice_ang: (b, 3, 3). frac: (n, 3), as given, not wrapped.
    centre, neighbour: (e,), atoms; edges are sorted by centre. first_edge: (n + 1,), of each atom.
    offset: (e, 3), cells between an edge's ends. edge_ang: (e, 3), from centre to neighbour.
    pair_centre, pair_neighbour: (p,), all ordered pairs of distinct atoms of one cell, for the displacements (eq. 12).
    """

    numbers: np.ndarray
    crystal: np.ndarray
    starts: np.ndarray
    lattice_ang: np.ndarray
    frac: np.ndarray
    centre: np.ndarray
    neighbour: np.ndarray
    first_edge: np.ndarray
    offset: np.ndarray
    edge_ang: np.ndarray
    pair_centre: np.ndarray
    pair_neighbour: np.ndarray

    @property
    def n_crystals(self) -> int:
        """Crystals in the batch."""
        return len(self.lattice_ang)


def crystal_numbers(crystal: Crystal) -> np.ndarray:
    """Atomic numbers (n,)."""
    return np.array([atomic_number(s) for s in crystal.species], dtype=np.int64)


def build_graphs(
    numbers: Sequence[np.ndarray],
    lattice_ang: np.ndarray,
    frac: Sequence[np.ndarray],
    settings: GraphSettings,
) -> GraphBatch:
    """Find the edges of a batch.

    numbers: per crystal (n,). lattice_ang: (b, 3, 3). frac: per crystal (n, 3). Where an atom has no neighbour within the
    cutoff, its nearest shell is taken all the same.
    """
    counts = np.array([len(x) for x in numbers], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    coords = np.ascontiguousarray(np.concatenate(frac), dtype=np.float64)
    lattice = np.ascontiguousarray(lattice_ang, dtype=np.float64)
    arrays = _find_edges(
        lattice, np.linalg.inv(lattice), coords, starts, settings.cutoff_ang, settings.neighbours
    )
    centre, neighbour, offset, edges, first_edge = arrays
    pairs = np.concatenate([_pairs(n) + s for n, s in zip(counts, starts)])
    return GraphBatch(
        np.concatenate(numbers),
        np.repeat(np.arange(len(counts)), counts),
        starts,
        lattice,
        coords,
        centre,
        neighbour,
        first_edge,
        offset,
        edges,
        pairs[:, 0],
        pairs[:, 1],
    )


def graphs_of(crystals: Sequence[Crystal], settings: GraphSettings) -> GraphBatch:
    """Multigraphs of crystals."""
    return build_graphs(
        [crystal_numbers(c) for c in crystals],
        np.array([c.lattice_ang for c in crystals]),
        [c.frac_coords for c in crystals],
        settings,
    )


def _pairs(n: int) -> np.ndarray:
    if n not in _PAIRS:
        rows = np.array(np.nonzero(~np.eye(n, dtype=bool))).T
        _PAIRS[n] = rows.astype(np.int64)
    return _PAIRS[n]


_PAIRS: dict[int, np.ndarray] = {}
_SHELL_ANG = 0.02


@njit(cache=True)
def _find_edges(lattices, inverses, frac, starts, cutoff, wanted):
    n = len(frac)
    capacity = 64 * n + 1024
    centre, neighbour = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    offset, edges = np.empty((capacity, 3), np.int64), np.empty((capacity, 3))
    first_edge = np.zeros(n + 1, np.int64)
    found_size = 4096
    found_distance = np.empty(found_size)
    found_place = np.empty((found_size, 4), np.int64)
    total = 0
    reach = np.empty(3)
    for b in range(len(starts) - 1):
        lattice, inverse = lattices[b], inverses[b]
        for i in range(starts[b], starts[b + 1]):
            radius = cutoff
            while True:
                for k in range(3):
                    reach[k] = radius * np.sqrt(inverse[0, k] ** 2 + inverse[1, k] ** 2 + inverse[2, k] ** 2)
                count = 0
                for j in range(starts[b], starts[b + 1]):
                    f0, f1, f2 = frac[j, 0] - frac[i, 0], frac[j, 1] - frac[i, 1], frac[j, 2] - frac[i, 2]
                    for p in range(int(np.ceil(-reach[0] - f0)), int(np.floor(reach[0] - f0)) + 1):
                        for q in range(int(np.ceil(-reach[1] - f1)), int(np.floor(reach[1] - f1)) + 1):
                            for r in range(int(np.ceil(-reach[2] - f2)), int(np.floor(reach[2] - f2)) + 1):
                                if i == j and p == 0 and q == 0 and r == 0:
                                    continue
                                a, c, d = f0 + p, f1 + q, f2 + r
                                square = 0.0
                                for k in range(3):
                                    x = a * lattice[0, k] + c * lattice[1, k] + d * lattice[2, k]
                                    square += x * x
                                if square > radius * radius:
                                    continue
                                if count == found_size:
                                    found_size *= 2
                                    more = np.empty(found_size)
                                    more[:count] = found_distance
                                    found_distance = more
                                    places = np.empty((found_size, 4), np.int64)
                                    places[:count] = found_place
                                    found_place = places
                                found_distance[count] = np.sqrt(square)
                                found_place[count, 0], found_place[count, 1] = j, p
                                found_place[count, 2], found_place[count, 3] = q, r
                                count += 1
                if count > 0:
                    break
                radius *= 1.5
            order = np.argsort(found_distance[:count])
            # Whole shells, as far as the last one fits; the first always does.
            kept = min(wanted, count)
            if count > wanted:
                while kept > 0 and found_distance[order[kept]] - found_distance[order[kept - 1]] < _SHELL_ANG:
                    kept -= 1
                if kept == 0 or kept < wanted // 2:
                    kept = min(wanted, count)
                    while (
                        kept < count
                        and found_distance[order[kept]] - found_distance[order[kept - 1]] < _SHELL_ANG
                    ):
                        kept += 1
            if total + kept > capacity:
                bigger = 2 * (total + kept)
                more_centre, more_neighbour = np.empty(bigger, np.int64), np.empty(bigger, np.int64)
                more_offset, more_edges = np.empty((bigger, 3), np.int64), np.empty((bigger, 3))
                more_centre[:total], more_neighbour[:total] = centre[:total], neighbour[:total]
                more_offset[:total], more_edges[:total] = offset[:total], edges[:total]
                centre, neighbour, offset, edges = more_centre, more_neighbour, more_offset, more_edges
                capacity = bigger
            for e in range(kept):
                j = found_place[order[e], 0]
                a = frac[j, 0] - frac[i, 0] + found_place[order[e], 1]
                c = frac[j, 1] - frac[i, 1] + found_place[order[e], 2]
                d = frac[j, 2] - frac[i, 2] + found_place[order[e], 3]
                centre[total], neighbour[total] = i, j
                for k in range(3):
                    offset[total, k] = found_place[order[e], k + 1]
                    edges[total, k] = a * lattice[0, k] + c * lattice[1, k] + d * lattice[2, k]
                total += 1
            first_edge[i + 1] = total
    return centre[:total], neighbour[:total], offset[:total], edges[:total], first_edge
