"""Crystals as pymatgen structures and as text, and distances between their atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mapcsp.records import Crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Enough for any cell whose basis is reduced: the shortest image of a wrapped difference lies in the 27 cells around it.
IMAGE_OFFSETS = np.array(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1], indexing="ij")).reshape(3, -1).T


def to_structure(crystal: Crystal) -> Structure:
    """Turn a crystal into a pymatgen Structure."""
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(crystal.lattice_ang), list(crystal.species), crystal.frac_coords)


def from_structure(structure: Structure) -> Crystal:
    """Turn an ordered pymatgen Structure into a crystal; oxidation states are dropped.

    Raises ValueError for a structure with partial occupancies.
    """
    if not structure.is_ordered:
        raise ValueError(
            f"{structure.composition.formula} has partial occupancies; only ordered crystals are supported"
        )
    species = tuple(site.specie.symbol for site in structure)
    return Crystal(np.array(structure.lattice.matrix), species, wrap(np.array(structure.frac_coords)))


def space_group_symbol(number: int) -> str:
    """Short Hermann-Mauguin symbol of a space group, 1-230, such as `P2_1/c`."""
    from moyopy import SpaceGroupType

    return str(SpaceGroupType(number).hm_short).replace(" ", "")


# The eleven pairs of space groups that are mirror images, the second of each pair by the first.
_LEFT_OF_RIGHT = {
    78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212,
}  # fmt: skip


def without_hand(space_group: int) -> int:
    """The space group, or its mirror image where that has the lower number: both hands of a crystal have one energy."""
    return _LEFT_OF_RIGHT.get(space_group, space_group)


def wrap(frac_coords: np.ndarray) -> np.ndarray:
    """Bring fractional coordinates into [0, 1); values within 1e-9 of 1 become 0, so that equal sites stay equal."""
    wrapped = np.mod(frac_coords, 1.0)
    wrapped[wrapped > 1.0 - 1e-9] = 0.0
    return wrapped


def reduce_lattice(lattice_ang: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shorten lattice vectors (Gauss steps on all pairs, then on the triple) so that 27 images suffice.

    lattice_ang: (3, 3). Returns the reduced lattice (3, 3) and the integer matrix M (3, 3), reduced = M @ lattice.
    """
    transform = np.eye(3, dtype=int)
    reduced = np.array(lattice_ang, dtype=float)
    for _ in range(100):
        changed = False
        for i in range(3):
            for j in range(3):
                if i == j:
                    continue
                step = int(np.rint(reduced[i] @ reduced[j] / (reduced[j] @ reduced[j])))
                if (
                    step
                    and np.linalg.norm(reduced[i] - step * reduced[j]) < np.linalg.norm(reduced[i]) - 1e-10
                ):
                    reduced[i] -= step * reduced[j]
                    transform[i] -= step * transform[j]
                    changed = True
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            for i in range(3):
                j, k = (i + 1) % 3, (i + 2) % 3
                trial = reduced[i] + signs[0] * reduced[j] + signs[1] * reduced[k]
                if np.linalg.norm(trial) < np.linalg.norm(reduced[i]) - 1e-10:
                    reduced[i] = trial
                    transform[i] = transform[i] + signs[0] * transform[j] + signs[1] * transform[k]
                    changed = True
        if not changed:
            break
    return reduced, transform


def distance_matrix(crystal: Crystal) -> np.ndarray:
    """Minimum-image distances: (n, n), Å, symmetric, zero diagonal (an atom's own images do not count)."""
    reduced, transform = reduce_lattice(crystal.lattice_ang)
    frac = crystal.frac_coords @ np.linalg.inv(transform)
    difference = frac[:, None] - frac[None]
    difference -= np.rint(difference)
    images = (difference[:, :, None] + IMAGE_OFFSETS) @ reduced
    return np.sqrt((images**2).sum(-1)).min(-1)


def neighbour_distances(crystal: Crystal, k: int) -> np.ndarray:
    """Distances from each atom to its 1st ... k-th neighbour, periodic images included: (n, k), Å, ascending.

    Rows do not depend on cell choice or origin (pointwise distance distributions: Widdowson et al., MATCH Commun.
    Math. Comput. Chem. 87, 529, 2022).
    """
    from scipy.spatial import cKDTree

    spacing = (crystal.volume_ang3 / crystal.n_atoms) ** (1 / 3)
    radius = spacing * (3 * (k + 1) / (4 * np.pi)) ** (1 / 3) * 1.25
    frac = crystal.frac_coords - np.floor(crystal.frac_coords)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(crystal.lattice_ang), axis=0)
    while True:
        reach = np.ceil(radius / heights).astype(int)
        axes = [np.arange(-r, r + 1) for r in reach]
        offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        images = (frac[None] + offsets[:, None]).reshape(-1, 3) @ crystal.lattice_ang
        if len(images) > k:
            distance, _ = cKDTree(images).query(frac @ crystal.lattice_ang, k=k + 1)
            # Beyond the radius the block of images may be incomplete.
            if distance[:, -1].max() <= radius:
                return distance[:, 1:]
        radius *= 1.3
