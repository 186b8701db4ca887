"""Finds which relaxed candidates of a formula are one and the same crystal.

Comparing all pairs with pymatgen's matcher takes minutes for fifty candidates. A continuous invariant
decides most pairs in microseconds; the matcher sees only those that it leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from mapcsp.crystals import neighbour_distances, to_structure
from mapcsp.records import Crystal

N_NEIGHBOURS = 12
ENERGY_TOLERANCE_EV_PER_ATOM = 0.02
VOLUME_TOLERANCE = 0.08
# Invariants that agree this well, at equal energy, are of one crystal relaxed twice to the usual force
# tolerance.
SAME_ANG, SAME_EV_PER_ATOM = 0.01, 0.001
# ASSUME: the matcher's default stol of 0.3 lets an atom move 0.3 (V/n)^(1/3); a k-th neighbour distance
# averaged over atoms then changes by at most about this share of (V/n)^(1/3) in crystals that it still
# calls equal.
DIFFERENT_SHARE = 0.35


def average_distances(crystal: Crystal, k: int = N_NEIGHBOURS) -> np.ndarray:
    """Mean distance to the 1st ... k-th neighbour, for each element, in the order of their symbols.

    Returns (elements, k), Å. It does not depend on cell choice, origin or atom order, and moves by no more
    than twice the largest displacement (Widdowson et al., MATCH Commun. Math. Comput. Chem. 87, 529, 2022:
    AMD, here by element).
    """
    distance = neighbour_distances(crystal, k)
    species = np.array(crystal.species)
    return np.array([distance[species == symbol].mean(axis=0) for symbol in sorted(set(crystal.species))])


def group_duplicates(crystals: Sequence[Crystal], energies_ev_per_atom: Sequence[float]) -> list[int]:
    """Group equal crystals of one formula.

    energies_ev_per_atom: (n,). Returns (n,) group numbers; groups are numbered by their lowest energy, from
    0. Each candidate is compared with the lowest member of each group, lowest energy first, and joins the
    first that it equals.
    """
    matcher = StructureMatcher(
        ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True, attempt_supercell=False
    )
    order = sorted(range(len(crystals)), key=lambda i: (energies_ev_per_atom[i], i))
    invariants = [average_distances(crystal) for crystal in crystals]
    structures = [to_structure(crystal) for crystal in crystals]
    groups = [-1] * len(crystals)
    first: list[int] = []
    for i in order:
        for number, j in enumerate(first):
            verdict = _quick_verdict(
                crystals[i],
                crystals[j],
                invariants[i],
                invariants[j],
                abs(energies_ev_per_atom[i] - energies_ev_per_atom[j]),
            )
            if verdict is None:
                verdict = matcher.fit(structures[i], structures[j])
            if verdict:
                groups[i] = number
                break
        else:
            groups[i] = len(first)
            first.append(i)
    return groups


def _quick_verdict(
    a: Crystal, b: Crystal, amd_a: np.ndarray, amd_b: np.ndarray, energy_gap: float
) -> bool | None:
    volume_a, volume_b = a.volume_ang3 / a.n_atoms, b.volume_ang3 / b.n_atoms
    if amd_a.shape != amd_b.shape or energy_gap > ENERGY_TOLERANCE_EV_PER_ATOM:
        return False
    if abs(volume_a / volume_b - 1.0) > VOLUME_TOLERANCE:
        return False
    difference = float(np.abs(amd_a - amd_b).max())
    if difference > DIFFERENT_SHARE * max(volume_a, volume_b) ** (1 / 3):
        return False
    if difference < SAME_ANG and energy_gap < SAME_EV_PER_ATOM:
        return True
    return None
