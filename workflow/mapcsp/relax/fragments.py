"""Whether the atoms of a crystal interact under a potential at all, or fall into parts out of each other's reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from mapcsp.crystals import reduce_lattice
from mapcsp.elements import atomic_number
from mapcsp.records import Crystal
from mapcsp.relax.neighbours import find_neighbours
from mapcsp.relax.potential import AtomBatch

# Smooth cutoffs leave a hundred-thousandth of an interaction at this share of their reach (M3GNet: 10 (1 - t)^3).
FELT_SHARE = 0.99


@dataclass(frozen=True, eq=False)
class Fragments:
    """The parts of a crystal that neighbours within a reach hold together.

    part_of: (n,), part of each atom. n_periodic: (p,), directions in which each part repeats without a gap: 3 for a crystal,
    2 for a layer, 1 for a chain, 0 for a molecule or an atom. n_atoms: (p,), atoms of each in the cell.
    """

    part_of: np.ndarray
    n_periodic: np.ndarray
    n_atoms: np.ndarray


def interaction_fault(crystal: Crystal, reach_ang: float | None, potential: str) -> tuple[str, str]:
    """Why forces between the atoms say nothing, and a caution where they say nothing of one direction; empty texts if sound.

    reach_ang: the potential's cutoff; None, if it is not known, finds nothing. Molecules and chains out of each other's
    reach have no place that forces would tell, and are faults; of layers only the distance is arbitrary.
    """
    if reach_ang is None:
        return "", ""
    found = find_fragments(crystal, FELT_SHARE * reach_ang)
    within = f"{reach_ang:g} Å, the reach of {potential}"
    loose = np.flatnonzero(found.n_periodic < 2)
    if len(loose):
        members = [s for s, part in zip(crystal.species, found.part_of) if part == loose[0]]
        if len(members) == 1 and found.n_periodic[loose[0]] == 0:
            return (
                f"atoms do not interact: {members[0]} has no neighbour within {within}; zero force is no minimum",
                "",
            )
        what = "chains" if found.n_periodic[loose[0]] else "molecules"
        return f"{what} do not interact: they have no neighbour within {within}; zero force is no minimum", ""
    if (found.n_periodic == 2).any():
        return (
            "",
            f"layers do not interact: they are further apart than {within}, and their distance is arbitrary",
        )
    return "", ""


def find_fragments(crystal: Crystal, reach_ang: float) -> Fragments:
    """Split a crystal into parts with no neighbours within `reach_ang` between them."""
    n = crystal.n_atoms
    lattice, _ = reduce_lattice(crystal.lattice_ang)
    positions = crystal.frac_coords @ crystal.lattice_ang
    numbers = np.array([atomic_number(s) for s in crystal.species])
    pairs = find_neighbours(AtomBatch(lattice[None], positions, numbers, np.array([n])), reach_ang)
    i, j = pairs.centres, pairs.neighbours
    image = np.rint((pairs.vectors_ang - positions[j] + positions[i]) @ np.linalg.inv(lattice)).astype(int)
    graph = csr_array((np.ones(len(i)), (i, j)), shape=(n, n))
    n_parts, part_of = connected_components(graph, directed=False)
    # A cell's offset for each atom, along a tree of neighbours; what other neighbours add to it are the part's own periods.
    some_edge = {(a, b): e for e, (a, b) in enumerate(zip(i.tolist(), j.tolist()))}
    offset = np.zeros((n, 3), dtype=int)
    for part in range(n_parts):
        order, before = breadth_first_order(graph, int(np.argmax(part_of == part)), directed=False)
        for atom in order[1:].tolist():
            parent = int(before[atom])
            offset[atom] = offset[parent] + image[some_edge[parent, atom]]
    periods = offset[i] + image - offset[j]
    ranks = [
        int(np.linalg.matrix_rank(own)) if len(own := np.unique(periods[part_of[i] == part], axis=0)) else 0
        for part in range(n_parts)
    ]
    return Fragments(part_of, np.array(ranks), np.bincount(part_of, minlength=n_parts))
