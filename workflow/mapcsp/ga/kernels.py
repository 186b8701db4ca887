"""Compiled loops over whole populations: minimum-image distances and the terms of the fitness.

One thread and a fixed order of operations, so that results do not depend on the number of cores.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Columns of the table that `fitness_terms` fills.
MAP, DICE, BOND, SHORT, ERROR = range(5)
N_TERMS = 5


@njit(cache=True, fastmath=True)
def _reduce(lattice):
    """Shorten lattice vectors in place as `crystals.reduce_lattice` does, so that 27 images suffice."""
    for _ in range(100):
        changed = False
        for i in range(3):
            for j in range(3):
                if i == j:
                    continue
                square = lattice[j, 0] ** 2 + lattice[j, 1] ** 2 + lattice[j, 2] ** 2
                dot = (
                    lattice[i, 0] * lattice[j, 0]
                    + lattice[i, 1] * lattice[j, 1]
                    + lattice[i, 2] * lattice[j, 2]
                )
                step = np.rint(dot / square)
                # |i - step j|^2 - |i|^2, without building the vector.
                if step != 0.0 and step * (step * square - 2.0 * dot) < -1e-9:
                    for x in range(3):
                        lattice[i, x] -= step * lattice[j, x]
                    changed = True
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            for signs in range(4):
                s = 1.0 if signs < 2 else -1.0
                t = 1.0 if signs % 2 == 0 else -1.0
                old = new = 0.0
                for x in range(3):
                    old += lattice[i, x] ** 2
                    new += (lattice[i, x] + s * lattice[j, x] + t * lattice[k, x]) ** 2
                if new < old - 1e-9:
                    for x in range(3):
                        lattice[i, x] += s * lattice[j, x] + t * lattice[k, x]
                    changed = True
        if not changed:
            break


@njit(cache=True, fastmath=True)
def _inverse(m, out):
    c00 = m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1]
    c01 = m[1, 2] * m[2, 0] - m[1, 0] * m[2, 2]
    c02 = m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0]
    det = m[0, 0] * c00 + m[0, 1] * c01 + m[0, 2] * c02
    out[0, 0] = c00 / det
    out[0, 1] = (m[0, 2] * m[2, 1] - m[0, 1] * m[2, 2]) / det
    out[0, 2] = (m[0, 1] * m[1, 2] - m[0, 2] * m[1, 1]) / det
    out[1, 0] = c01 / det
    out[1, 1] = (m[0, 0] * m[2, 2] - m[0, 2] * m[2, 0]) / det
    out[1, 2] = (m[0, 2] * m[1, 0] - m[0, 0] * m[1, 2]) / det
    out[2, 0] = c02 / det
    out[2, 1] = (m[0, 1] * m[2, 0] - m[0, 0] * m[2, 1]) / det
    out[2, 2] = (m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]) / det


@njit(cache=True, fastmath=True)
def _translations(lattice, tx, ty, tz):
    """Fill the 27 lattice vectors around a cell, the zero vector at index 13."""
    k = 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                tx[k] = a * lattice[0, 0] + b * lattice[1, 0] + c * lattice[2, 0]
                ty[k] = a * lattice[0, 1] + b * lattice[1, 1] + c * lattice[2, 1]
                tz[k] = a * lattice[0, 2] + b * lattice[1, 2] + c * lattice[2, 2]
                k += 1


@njit(cache=True, fastmath=True)
def pair_distances(lattices, free, coord_matrix, coord_offset, first, second):
    """Minimum-image distances of chosen pairs of atoms in a population.

    lattices: (p, 3, 3) or (1, 3, 3) for all, Å, rows, finite and not flat. free: (p, f). coord_matrix: (n, 3, f) and
    coord_offset: (n, 3), fractional, primitive basis. first, second: (m,), atoms of each pair.
    Returns distances (p, m) and the lengths of the 13 lattice vectors around the reduced cell (p, 13), Å.
    """
    n_people, n_free = free.shape
    n_atoms, n_pairs = coord_offset.shape[0], first.shape[0]
    distances = np.empty((n_people, n_pairs))
    periods = np.empty((n_people, 13))
    reduced = np.empty((3, 3))
    inverse = np.empty((3, 3))
    to_reduced = np.empty((3, 3))
    tx, ty, tz = np.empty(27), np.empty(27), np.empty(27)
    atoms = np.empty((n_atoms, 3))
    for p in range(n_people):
        if p == 0 or lattices.shape[0] > 1:
            reduced[:] = lattices[p]
            _reduce(reduced)
            _inverse(reduced, inverse)
            _translations(reduced, tx, ty, tz)
            for i in range(3):
                for j in range(3):
                    to_reduced[i, j] = 0.0
                    for k in range(3):
                        to_reduced[i, j] += lattices[p, i, k] * inverse[k, j]
                    # The true entry is an integer.
                    to_reduced[i, j] = np.rint(to_reduced[i, j])
        for k in range(13):
            periods[p, k] = math.sqrt(tx[k] ** 2 + ty[k] ** 2 + tz[k] ** 2)
        for i in range(n_atoms):
            x, y, z = coord_offset[i, 0], coord_offset[i, 1], coord_offset[i, 2]
            for f in range(n_free):
                x += coord_matrix[i, 0, f] * free[p, f]
                y += coord_matrix[i, 1, f] * free[p, f]
                z += coord_matrix[i, 2, f] * free[p, f]
            for j in range(3):
                atoms[i, j] = x * to_reduced[0, j] + y * to_reduced[1, j] + z * to_reduced[2, j]
        for q in range(n_pairs):
            i, j = first[q], second[q]
            u, v, w = atoms[i, 0] - atoms[j, 0], atoms[i, 1] - atoms[j, 1], atoms[i, 2] - atoms[j, 2]
            u -= np.rint(u)
            v -= np.rint(v)
            w -= np.rint(w)
            x = u * reduced[0, 0] + v * reduced[1, 0] + w * reduced[2, 0]
            y = u * reduced[0, 1] + v * reduced[1, 1] + w * reduced[2, 1]
            z = u * reduced[0, 2] + v * reduced[1, 2] + w * reduced[2, 2]
            best = 1e300
            for k in range(27):
                square = (x + tx[k]) ** 2 + (y + ty[k]) ** 2 + (z + tz[k]) ** 2
                best = min(best, square)
            distances[p, q] = math.sqrt(best)
    return distances, periods


@njit(cache=True, fastmath=True)
def _log_density(distance, expected, spread, degrees):
    """Log density of Student's t, up to a constant of `degrees`."""
    score = (distance - expected) / spread
    return -math.log(spread) - 0.5 * (degrees + 1.0) * math.log1p(score * score / degrees)


@njit(cache=True, fastmath=True)
def bond_terms(
    distances, periods, weight, bond_ang, tolerance_ang, short_ang, self_weight, self_short_ang, out
):
    """Fill bond validity (eq. 2) and the short-distance penalty; see `fitness.evaluate`.

    weight: (m,), unordered pairs that each entry stands for. bond_ang: (m,), sums of covalent radii.
    short_ang: (m,), distances below which a pair is punished; self_short_ang, self_weight: (k,), for own images.
    """
    n_atoms = self_weight.sum()
    for p in range(distances.shape[0]):
        valid = short = penalty = 0.0
        for q in range(distances.shape[1]):
            d = distances[p, q]
            if d < bond_ang[q] - tolerance_ang:
                short += weight[q]
            elif d <= bond_ang[q] + tolerance_ang:
                valid += weight[q]
            if d < short_ang[q]:
                penalty += 2.0 * weight[q] * (1.0 - d / short_ang[q]) ** 2
        nearest = periods[p].min()
        for k in range(self_weight.shape[0]):
            if nearest < self_short_ang[k]:
                penalty += 2.0 * self_weight[k] * (1.0 - nearest / self_short_ang[k]) ** 2
        out[p, BOND] = valid / (valid + short) if valid + short > 0.0 else 1.0
        out[p, SHORT] = -penalty / n_atoms


@njit(cache=True, fastmath=True)
def map_terms_by_row(
    distances, weight, expected, spread, contact, bond_ang, tolerance_ang, can_bond, degrees, constant, out
):
    """Fill log-likelihood, Dice and distance error, each pair against its own entry of the map.

    weight, expected, spread, contact, bond_ang, can_bond: (m,). constant: added to the mean log density.
    """
    n_pairs = weight.sum()
    contact_sum = (weight * contact).sum()
    for p in range(distances.shape[0]):
        log_density = error = overlap = bonds = 0.0
        for q in range(distances.shape[1]):
            d = distances[p, q]
            log_density += weight[q] * _log_density(d, expected[q], spread[q], degrees)
            error += weight[q] * (d - expected[q]) ** 2
            if can_bond[q] and abs(d - bond_ang[q]) <= tolerance_ang:
                overlap += weight[q] * contact[q]
                bonds += weight[q]
        _write_map_terms(out, p, log_density, error, overlap, bonds, n_pairs, contact_sum, constant)


@njit(cache=True, fastmath=True)
def map_terms_sorted(
    distances, weight, group_start, expected, spread, contact_above, contact_sum, bond_ang, tolerance_ang, can_bond,
    degrees, constant, out,
):  # fmt: skip
    """Fill the same terms, comparing sorted distances of each pair of elements: no row belongs to an atom.

    Pairs are grouped by elements: group g holds pairs group_start[g] to group_start[g + 1].
    expected, spread: (unordered pairs,), sorted within each group. contact_above: (unordered pairs,), contact
    probabilities sorted from high to low within each group.
    """
    n_pairs = weight.sum()
    longest = 0
    for g in range(group_start.shape[0] - 1):
        longest = max(longest, group_start[g + 1] - group_start[g])
    order = np.empty(longest, dtype=np.int64)
    for p in range(distances.shape[0]):
        log_density = error = overlap = bonds = 0.0
        entry = 0
        for g in range(group_start.shape[0] - 1):
            start, size = group_start[g], group_start[g + 1] - group_start[g]
            for k in range(size):
                at = k
                while at > 0 and distances[p, start + order[at - 1]] > distances[p, start + k]:
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = k
            taken = entry
            for k in range(size):
                q = start + order[k]
                d = distances[p, q]
                bonded = can_bond[q] and abs(d - bond_ang[q]) <= tolerance_ang
                for _ in range(int(weight[q])):
                    log_density += _log_density(d, expected[entry], spread[entry], degrees)
                    error += (d - expected[entry]) ** 2
                    entry += 1
                    if bonded:
                        overlap += contact_above[taken]
                        bonds += 1.0
                        taken += 1
        _write_map_terms(out, p, log_density, error, overlap, bonds, n_pairs, contact_sum, constant)


@njit(cache=True, fastmath=True)
def _write_map_terms(out, p, log_density, error, overlap, bonds, n_pairs, contact_sum, constant):
    if n_pairs > 0.0:
        out[p, MAP] = log_density / n_pairs + constant
        out[p, ERROR] = math.sqrt(error / n_pairs)
    else:
        # One atom has no pairs: nothing to agree or disagree with.
        out[p, MAP] = 0.0
        out[p, ERROR] = 0.0
    out[p, DICE] = 2.0 * overlap / (bonds + contact_sum) if bonds + contact_sum > 0.0 else 1.0
