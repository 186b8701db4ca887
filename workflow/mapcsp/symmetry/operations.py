"""Keeps the space group of a crystal while it relaxes: averages over its symmetry operations."""

from __future__ import annotations

from dataclasses import dataclass

import moyopy
import numpy as np
from numba import njit


@dataclass(frozen=True, eq=False)
class CrystalSymmetry:
    """The symmetry operations of one crystal, in its own lattice basis.

    rotations: (g, 3, 3), integers, acting on fractional columns. translations: (g, 3), fractional.
    sources: (g, n), sources[k, j] is the atom that operation k carries to atom j.
    shifts: (g, n, 3), integers, the lattice translation that brings the carried atom onto atom j.
    """

    rotations: np.ndarray
    translations: np.ndarray
    sources: np.ndarray
    shifts: np.ndarray

    def average_vectors(self, lattice_ang: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Average Cartesian vectors of atoms (n, 3), such as forces, over the operations."""
        fractional = vectors @ np.linalg.inv(lattice_ang)
        carried = np.einsum("gjk,glk->jl", fractional[self.sources], self.rotations)
        return carried / len(self.rotations) @ lattice_ang

    def average_tensor(self, lattice_ang: np.ndarray, tensor: np.ndarray) -> np.ndarray:
        """Average a Cartesian tensor (3, 3), such as the stress, over the operations."""
        inverse = np.linalg.inv(lattice_ang)
        fractional = inverse.T @ tensor @ inverse
        carried = np.einsum("gij,jk,glk->il", self.rotations, fractional, self.rotations) / len(
            self.rotations
        )
        return lattice_ang.T @ carried @ lattice_ang

    def average_crystal(
        self, lattice_ang: np.ndarray, frac_coords: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Remove what deviates from the symmetry: the nearest exact lattice (3, 3) and coordinates (n, 3)."""
        metric = lattice_ang @ lattice_ang.T
        average = np.einsum("gji,jk,gkl->il", self.rotations, metric, self.rotations) / len(self.rotations)
        exact = _root(average) @ np.linalg.inv(_root(metric)) @ lattice_ang
        carried = np.einsum("gjk,glk->gjl", frac_coords[self.sources], self.rotations)
        return exact, (carried + self.translations[:, None] + self.shifts).mean(axis=0)


def find_symmetry(
    lattice_ang: np.ndarray, frac_coords: np.ndarray, numbers: np.ndarray, symprec_ang: float
) -> CrystalSymmetry | None:
    """Find the operations of a crystal; None where none can be found (moyopy fails on the cell).

    lattice_ang: (3, 3). frac_coords: (n, 3). numbers: (n,).
    """
    cell = moyopy.Cell(lattice_ang.tolist(), frac_coords.tolist(), [int(z) for z in numbers])
    try:
        operations = moyopy.MoyoDataset(cell, symprec=symprec_ang).operations
    except ValueError:
        return None
    rotations = np.array(operations.rotations, dtype=float)
    translations = np.array(operations.translations, dtype=float)
    found = _carry(
        np.asarray(lattice_ang, dtype=float),
        np.asarray(frac_coords, dtype=float),
        np.asarray(numbers),
        rotations,
        translations,
    )
    return CrystalSymmetry(rotations, translations, *found[1:]) if found[0] else None


@njit(cache=True)
def _carry(lattice_ang, frac_coords, numbers, rotations, translations):
    """Where each operation carries each atom: whether to all of them, and `sources` and `shifts` of CrystalSymmetry."""
    n, g = len(numbers), len(rotations)
    sources, shifts = np.empty((g, n), np.int64), np.empty((g, n, 3))
    carried = np.empty((n, 3))
    step, rest = np.empty(3), np.empty(3)
    for k in range(g):
        taken = np.zeros(n, np.bool_)
        for i in range(n):
            for a in range(3):
                carried[i, a] = translations[k, a]
                for b in range(3):
                    carried[i, a] += rotations[k, a, b] * frac_coords[i, b]
        for j in range(n):
            nearest, best = np.inf, -1
            for i in range(n):
                if numbers[i] != numbers[j]:
                    continue
                for a in range(3):
                    rest[a] = frac_coords[j, a] - carried[i, a]
                    step[a] = np.rint(rest[a])
                    rest[a] -= step[a]
                square = 0.0
                for a in range(3):
                    x = (
                        rest[0] * lattice_ang[0, a]
                        + rest[1] * lattice_ang[1, a]
                        + rest[2] * lattice_ang[2, a]
                    )
                    square += x * x
                if square < nearest:
                    nearest, best = square, i
                    shifts[k, j] = step
            if best < 0 or taken[best]:
                return False, sources, shifts
            taken[best] = True
            sources[k, j] = best
    return True, sources, shifts


def _root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric square root of a positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values)) @ vectors.T
