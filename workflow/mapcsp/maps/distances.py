"""Minimum-image distances of many small cells at once, compiled: what maps are made of."""

from __future__ import annotations

import numpy as np
from numba import njit


def batch_distances(lattices_ang: np.ndarray, frac_coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances within each of many cells of equal size, as `crystals.distance_matrix` gives them one by one.

    lattices_ang: (p, 3, 3), Å, rows; frac_coords: (p, n, 3), fractional, wrapped or not.
    Returns distances (p, n, n), Å, minimum image, symmetric, zero diagonal; and the shortest lattice vector (p,), Å.
    """
    lattices = np.ascontiguousarray(lattices_ang, dtype=np.float64)
    fracs = np.ascontiguousarray(frac_coords, dtype=np.float64)
    distances = np.zeros((*fracs.shape[:2], fracs.shape[1]))
    shortest = np.empty(len(lattices))
    _fill(lattices, fracs, distances, shortest)
    return distances, shortest


@njit(cache=True)
def _reduce(lattice):
    """Shorten lattice vectors as `crystals.reduce_lattice` does, so that the 27 cells around one suffice."""
    reduced = lattice.copy()
    for _ in range(100):
        changed = False
        for i in range(3):
            for j in range(3):
                if i == j:
                    continue
                step = np.rint(np.sum(reduced[i] * reduced[j]) / np.sum(reduced[j] * reduced[j]))
                if step != 0:
                    trial = reduced[i] - step * reduced[j]
                    if np.sum(trial * trial) < np.sum(reduced[i] * reduced[i]) - 1e-9:
                        reduced[i] = trial
                        changed = True
        for first in (-1.0, 1.0):
            for second in (-1.0, 1.0):
                for i in range(3):
                    trial = reduced[i] + first * reduced[(i + 1) % 3] + second * reduced[(i + 2) % 3]
                    if np.sum(trial * trial) < np.sum(reduced[i] * reduced[i]) - 1e-9:
                        reduced[i] = trial
                        changed = True
        if not changed:
            break
    return reduced


@njit(cache=True)
def _fill(lattices, fracs, distances, shortest):
    n = fracs.shape[1]
    images = np.empty((27, 3))
    for b in range(len(lattices)):
        lattice = _reduce(lattices[b])
        inverse = np.linalg.inv(lattice)
        count = 0
        shortest[b] = np.inf
        for p in range(-1, 2):
            for q in range(-1, 2):
                for r in range(-1, 2):
                    images[count] = p * lattice[0] + q * lattice[1] + r * lattice[2]
                    if p != 0 or q != 0 or r != 0:
                        shortest[b] = min(shortest[b], np.sqrt(np.sum(images[count] ** 2)))
                    count += 1
        cartesian = fracs[b] @ lattices[b]
        for i in range(n):
            for j in range(i):
                difference = cartesian[i] - cartesian[j]
                f0 = np.rint(np.sum(difference * inverse[:, 0]))
                f1 = np.rint(np.sum(difference * inverse[:, 1]))
                f2 = np.rint(np.sum(difference * inverse[:, 2]))
                x = difference[0] - f0 * lattice[0, 0] - f1 * lattice[1, 0] - f2 * lattice[2, 0]
                y = difference[1] - f0 * lattice[0, 1] - f1 * lattice[1, 1] - f2 * lattice[2, 1]
                z = difference[2] - f0 * lattice[0, 2] - f1 * lattice[1, 2] - f2 * lattice[2, 2]
                best = np.inf
                for m in range(27):
                    u, v, w = x + images[m, 0], y + images[m, 1], z + images[m, 2]
                    best = min(best, u * u + v * v + w * w)
                distances[b, i, j] = distances[b, j, i] = np.sqrt(best)
