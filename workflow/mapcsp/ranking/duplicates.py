"""Finds which relaxed candidates of a formula are one and the same phase.

Two crystals that a tolerant matcher calls equal can be two phases: a tilted perovskite and the ideal one, alpha quartz and
beta quartz. They are one answer only if nothing that the report shows tells them apart: the space group, or else all atoms
within its tolerance, and the energy. Comparing all pairs with pymatgen's matcher takes minutes for fifty candidates; energy,
volume and a continuous invariant decide most pairs in microseconds, and the matcher sees those that they leave open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from mapcsp.crystals import neighbour_distances, to_structure, without_hand
from mapcsp.ranking.symmetry_found import FoundSymmetry
from mapcsp.records import Crystal

# Far enough to tell stackings of one layer apart: ideal hcp has the first 18 neighbour distances of fcc.
N_NEIGHBOURS = 32
# ASSUME: two relaxations into one minimum, stopped at the usual forces and stress, end this close in energy and volume.
NOISE_EV_PER_ATOM, NOISE_VOLUME = 0.002, 0.05
# The same where the space groups differ, which is evidence for two phases.
NOISE_ACROSS_GROUPS_EV_PER_ATOM = 0.001
# Invariants that agree this well, in one space group and cell content, are of one crystal.
SAME_ANG = 0.01
# Root mean square displacement, in units of the edge of a cube that holds one atom: 0.2 Å in a common oxide. The matcher's
# default is three times as much.
NARROW_STOL = 0.1


def average_distances(crystal: Crystal, k: int = N_NEIGHBOURS) -> np.ndarray:
    """Mean distance to the 1st ... k-th neighbour, for each element, in the order of their symbols.

    Returns (elements, k), Å. It does not depend on cell choice, origin or atom order, and moves by no more
    than twice the largest displacement (Widdowson et al., MATCH Commun. Math. Comput. Chem. 87, 529, 2022:
    AMD, here by element).
    """
    distance = neighbour_distances(crystal, k)
    species = np.array(crystal.species)
    return np.array([distance[species == symbol].mean(axis=0) for symbol in sorted(set(crystal.species))])


def group_duplicates(
    symmetries: Sequence[FoundSymmetry], energies_ev_per_atom: Sequence[float], symprec_ang: float
) -> list[int]:
    """Group candidates of one formula that are one phase.

    symmetries: (n,), found at symprec_ang, Å; energies_ev_per_atom: (n,). Returns (n,) group numbers; groups are numbered by
    their lowest energy, from 0. Each candidate is compared with the lowest member of each group, lowest energy first, and
    joins the first that it equals, so that no chain of small steps joins two phases.
    """
    order = sorted(range(len(symmetries)), key=lambda i: (energies_ev_per_atom[i], i))
    groups = [-1] * len(symmetries)
    lowest: list[_Phase] = []
    for i in order:
        phase = _Phase.of(symmetries[i], energies_ev_per_atom[i])
        for number, other in enumerate(lowest):
            if _is_same(phase, other, symprec_ang):
                groups[i] = number
                break
        else:
            groups[i] = len(lowest)
            lowest.append(phase)
    return groups


@dataclass(frozen=True, eq=False)
class _Phase:
    """What two candidates are compared by. space_group: without its hand. distances_ang: see `average_distances`."""

    space_group: int
    crystal: Crystal
    structure: Structure
    energy_ev_per_atom: float
    volume_ang3_per_atom: float
    distances_ang: np.ndarray

    @classmethod
    def of(cls, symmetry: FoundSymmetry, energy_ev_per_atom: float) -> _Phase:
        crystal = symmetry.primitive
        return cls(
            without_hand(symmetry.space_group),
            crystal,
            to_structure(crystal),
            energy_ev_per_atom,
            crystal.volume_ang3 / crystal.n_atoms,
            average_distances(crystal),
        )


def _is_same(a: _Phase, b: _Phase, symprec_ang: float) -> bool:
    same_group = a.space_group == b.space_group
    gap = abs(a.energy_ev_per_atom - b.energy_ev_per_atom)
    if gap > (NOISE_EV_PER_ATOM if same_group else NOISE_ACROSS_GROUPS_EV_PER_ATOM):
        return False
    if abs(np.log(a.volume_ang3_per_atom / b.volume_ang3_per_atom)) > NOISE_VOLUME:
        return False
    change_ang = float(np.abs(a.distances_ang - b.distances_ang).max())
    if same_group:
        if a.crystal.n_atoms != b.crystal.n_atoms:
            return False
        if change_ang < SAME_ANG:
            return True
        return bool(_matcher(supercells=False).fit(a.structure, b.structure))
    if change_ang > 2 * symprec_ang:
        return False
    # The less symmetric of the two may be described in a multiple of the other's cell.
    found = _matcher(supercells=True).get_rms_dist(a.structure, b.structure)
    if found is None:
        return False
    edge_ang = np.cbrt(0.5 * (a.volume_ang3_per_atom + b.volume_ang3_per_atom))
    return float(found[1]) * edge_ang <= symprec_ang


def _matcher(supercells: bool) -> StructureMatcher:
    # The cells are primitive already; pymatgen's own reduction would average displacements of 0.25 Å away.
    return StructureMatcher(
        ltol=0.1,
        stol=NARROW_STOL,
        angle_tol=3,
        primitive_cell=False,
        scale=True,
        attempt_supercell=supercells,
    )
