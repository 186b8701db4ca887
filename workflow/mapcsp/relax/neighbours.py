"""Periodic neighbour lists of many small cells at once, compiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from mapcsp.relax.potential import AtomBatch


@dataclass(frozen=True, eq=False)
class NeighbourList:
    """All directed pairs within a cutoff, ordered by structure and then by centre.

    centres, neighbours: (e,), atom indices in the batch. vectors_ang: (e, 3), from centre to neighbour, Å.
    structure_edges: (b,), pairs of each structure.
    """

    centres: np.ndarray
    neighbours: np.ndarray
    vectors_ang: np.ndarray
    structure_edges: np.ndarray


def find_neighbours(batch: AtomBatch, cutoff_ang: float) -> NeighbourList:
    """Find every pair of atoms, images included, at most `cutoff_ang` apart; an atom is no neighbour of itself.

    Lattices of any shape give the right answer; reduced ones give it fast.
    """
    lattices = np.ascontiguousarray(batch.lattices_ang, dtype=np.float64)
    positions = np.ascontiguousarray(batch.positions_ang, dtype=np.float64)
    cells = (lattices, np.linalg.inv(lattices), positions, batch.starts, batch.counts.astype(np.int64))
    edges = np.empty(len(lattices), np.int64)
    capacity = _EDGES_PER_ATOM * len(positions)
    while True:
        centres, neighbours = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        vectors = np.empty((capacity, 3))
        total = _scan(*cells, cutoff_ang, edges, centres, neighbours, vectors)
        if total <= capacity:
            return NeighbourList(centres[:total], neighbours[:total], vectors[:total], edges)
        capacity = total


_EDGES_PER_ATOM = 96  # a first guess, above most crystals within 5 Å


@njit(cache=True)
def _scan(lattices, inverses, positions, starts, counts, cutoff, edges, centres, neighbours, vectors):
    """Write the pairs as far as the arrays reach; return how many there are."""
    total = 0
    capacity = len(centres)
    reach = np.empty(3)
    for b in range(len(starts)):
        before = total
        lattice, inverse = lattices[b], inverses[b]
        # A sphere spans cutoff / height in each fractional direction; 1 / height is the norm of an inverse's column.
        for k in range(3):
            reach[k] = cutoff * np.sqrt(inverse[0, k] ** 2 + inverse[1, k] ** 2 + inverse[2, k] ** 2)
        for i in range(starts[b], starts[b] + counts[b]):
            for j in range(starts[b], starts[b] + counts[b]):
                dx = positions[j, 0] - positions[i, 0]
                dy = positions[j, 1] - positions[i, 1]
                dz = positions[j, 2] - positions[i, 2]
                f0 = dx * inverse[0, 0] + dy * inverse[1, 0] + dz * inverse[2, 0]
                f1 = dx * inverse[0, 1] + dy * inverse[1, 1] + dz * inverse[2, 1]
                f2 = dx * inverse[0, 2] + dy * inverse[1, 2] + dz * inverse[2, 2]
                for p in range(int(np.ceil(-reach[0] - f0)), int(np.floor(reach[0] - f0)) + 1):
                    for q in range(int(np.ceil(-reach[1] - f1)), int(np.floor(reach[1] - f1)) + 1):
                        for r in range(int(np.ceil(-reach[2] - f2)), int(np.floor(reach[2] - f2)) + 1):
                            x = dx + p * lattice[0, 0] + q * lattice[1, 0] + r * lattice[2, 0]
                            y = dy + p * lattice[0, 1] + q * lattice[1, 1] + r * lattice[2, 1]
                            z = dz + p * lattice[0, 2] + q * lattice[1, 2] + r * lattice[2, 2]
                            if x * x + y * y + z * z > cutoff * cutoff:
                                continue
                            if i == j and p == 0 and q == 0 and r == 0:
                                continue
                            if total < capacity:
                                centres[total], neighbours[total] = i, j
                                vectors[total, 0], vectors[total, 1], vectors[total, 2] = x, y, z
                            total += 1
        edges[b] = total - before
    return total
