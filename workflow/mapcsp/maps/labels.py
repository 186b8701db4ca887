"""What the map networks learn to predict: distances, contacts by AlphaCrystal's rule, and distance groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.crystals import distance_matrix
from mapcsp.elements import covalent_radius_ang, is_metal
from mapcsp.records import Crystal

BOND_TOLERANCE_ANG = 0.4
"""A bond is as long as the sum of covalent radii, give or take this (AlphaCrystal, contact map generation)."""


@dataclass(frozen=True, eq=False)
class MapLabels:
    """The true map of a crystal.

    species: (n,), rows. distance_ang: (n, n), Å, minimum image, zero diagonal. contact: (n, n), bool, False diagonal.
    """

    species: tuple[str, ...]
    distance_ang: np.ndarray
    contact: np.ndarray


def map_labels(crystal: Crystal) -> MapLabels:
    """Label a crystal with its distances and contacts, atoms in the order of the crystal."""
    distance_ang = distance_matrix(crystal)
    return MapLabels(crystal.species, distance_ang, contact_map(crystal.species, distance_ang))


def bond_lengths_ang(species: Sequence[str]) -> np.ndarray:
    """Sums of covalent radii: (n, n), Å."""
    radii = np.array([covalent_radius_ang(s) for s in species])
    return radii[:, None] + radii[None]


def can_bond(species: Sequence[str]) -> np.ndarray:
    """Pairs that may be in contact: (n, n), bool; never two metals (AlphaCrystal), never an atom with itself."""
    metal = np.array([is_metal(s) for s in species])
    return ~(metal[:, None] & metal[None]) & ~np.eye(len(species), dtype=bool)


def contact_map(species: Sequence[str], distance_ang: np.ndarray) -> np.ndarray:
    """Find the bonds among atoms (AlphaCrystal: sum of covalent radii ± 0.4 Å, minimum image, metal-metal never).

    species: (n,). distance_ang: (..., n, n), Å. Returns bool of the same shape, False on the diagonal.
    """
    difference = np.abs(distance_ang - bond_lengths_ang(species))
    # A rounding error on the edge of the window must not decide: 1e-9 Å is given to the bond.
    return (difference <= BOND_TOLERANCE_ANG + 1e-9) & can_bond(species)


@dataclass(frozen=True)
class DistanceGroups:
    """Equal-width groups of distances (AlphaCrystal-II, eq. 5). low_ang, high_ang: range of the training data, Å."""

    n: int
    low_ang: float
    high_ang: float

    @property
    def width_ang(self) -> float:
        """Width of one group, Å."""
        return (self.high_ang - self.low_ang) / self.n

    @property
    def centres_ang(self) -> np.ndarray:
        """Middle of each group: (n,), Å."""
        return self.low_ang + (np.arange(self.n) + 0.5) * self.width_ang

    def assign(self, distance_ang: np.ndarray) -> np.ndarray:
        """Group of each distance, integers of the same shape; distances beyond the range go to the outermost groups."""
        index = np.floor((np.asarray(distance_ang) - self.low_ang) / self.width_ang).astype(int)
        return np.clip(index, 0, self.n - 1)
