"""Pairs of an unrelaxed and a relaxed crystal with the same atoms, and how one is laid onto the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numba import njit

from mapcsp.crystals import reduce_lattice
from mapcsp.elements import atomic_number
from mapcsp.records import Crystal
from mapcsp.store import read_records, write_records

LENGTH_TOLERANCE, ANGLE_TOLERANCE_DEG, SITE_TOLERANCE = 0.3, 10.0, 0.5
"""Two crystals are of one prototype within these (lengths and sites as shares): the loose matcher of `metrics.match`."""
MAX_AXES = 96


@dataclass(frozen=True, eq=False)
class RelaxPair:
    """An unrelaxed crystal and what it relaxes to, atom by atom.

    initial: the unrelaxed crystal. lattice_ang: (3, 3), relaxed, turned so that it arises from the initial one by a
    symmetric stretch. frac_coords: (n, 3), relaxed, *not* wrapped: each next to the atom that it comes from, and with the
    same centroid.
    """

    id: str
    formula: str
    initial: Crystal
    lattice_ang: np.ndarray
    frac_coords: np.ndarray

    @property
    def relaxed(self) -> Crystal:
        """The relaxed crystal, atoms in the order of the unrelaxed one."""
        return Crystal(self.lattice_ang, self.initial.species, np.mod(self.frac_coords, 1.0))


def write_pairs(path: Path, pairs: Iterable[RelaxPair], **provenance) -> None:
    """Write pairs (a working file of the training, not shipped)."""
    write_records(path, RelaxPair, pairs, **provenance)


def read_pairs(path: Path) -> list[RelaxPair]:
    """Read pairs."""
    return read_records(path, RelaxPair)


def reduced_crystal(crystal: Crystal) -> Crystal:
    """The same crystal in a reduced basis, coordinates wrapped: `align_pair` expects both sides so."""
    reduced, transform = reduce_lattice(crystal.lattice_ang)
    return Crystal(
        reduced, crystal.species, np.mod(crystal.frac_coords @ np.linalg.inv(transform) + 1e-9, 1.0)
    )


def align_pair(id: str, formula: str, initial: Crystal, relaxed: Crystal) -> RelaxPair | None:
    """Find which atom, axes and origin of a relaxed crystal belong to those of an unrelaxed one.

    initial, relaxed: reduced bases, the same numbers of the same elements, any order, origin and axes. Axes may be mirrored,
    since an enantiomorph has the same energy. Returns None where they are not of one prototype.
    """
    axes = _axes(initial.lattice_ang, relaxed.lattice_ang)
    numbers = np.array([atomic_number(s) for s in initial.species])
    others = np.array([atomic_number(s) for s in relaxed.species])
    if not len(axes) or sorted(numbers) != sorted(others):
        return None
    spacing = (relaxed.volume_ang3 / relaxed.n_atoms) ** (1 / 3)
    # Displacements are judged in a cell between the two.
    scale = (relaxed.volume_ang3 / initial.volume_ang3) ** (1 / 3)
    best, mean_square, moved = _lay_over(
        np.ascontiguousarray(initial.lattice_ang * scale),
        np.ascontiguousarray(initial.frac_coords),
        numbers,
        np.ascontiguousarray(relaxed.frac_coords),
        others,
        axes,
    )
    if best < 0 or np.sqrt(mean_square) > SITE_TOLERANCE * spacing:
        return None
    lattice = symmetric_stretch(initial.lattice_ang, axes[best] @ relaxed.lattice_ang)
    return RelaxPair(id, formula, initial, lattice, moved)


def centred_pair(id: str, formula: str, initial: Crystal, relaxed: Crystal) -> RelaxPair:
    """Make a pair of two crystals whose atoms and axes already correspond one to one.

    Raises ValueError for different species.
    """
    if initial.species != relaxed.species:
        raise ValueError("the two crystals do not list the same species in the same order")
    step = relaxed.frac_coords - initial.frac_coords
    # Relative to the first atom, so that a shift of the origin by half a cell tears nothing apart.
    step = step - step[0]
    step -= np.rint(step)
    lattice = symmetric_stretch(initial.lattice_ang, relaxed.lattice_ang)
    return RelaxPair(id, formula, initial, lattice, initial.frac_coords + step - step.mean(0))


def symmetric_stretch(lattice_ang: np.ndarray, other_ang: np.ndarray) -> np.ndarray:
    """Turn a lattice (3, 3) so that it arises from another by a symmetric stretch, without rotation."""
    deformation = np.linalg.inv(lattice_ang) @ other_ang
    u, s, vt = np.linalg.svd(deformation)
    return lattice_ang @ (u * s) @ u.T


_STEPS = np.array([s for s in product((0, 1, -1), repeat=3) if any(s)], dtype=float)


def _axes(lattice_ang: np.ndarray, other_ang: np.ndarray) -> np.ndarray:
    """Integer matrices (m, 3, 3) that bring another lattice close to the first in shape, closest first."""
    wanted = lattice_ang / np.cbrt(abs(np.linalg.det(lattice_ang)))
    given = other_ang / np.cbrt(abs(np.linalg.det(other_ang)))
    found, misfits = _similar_bases(
        wanted, _STEPS, _STEPS @ given, np.log(1 + LENGTH_TOLERANCE), np.radians(ANGLE_TOLERANCE_DEG)
    )
    order = np.argsort(np.round(misfits, 6), kind="stable")
    return np.ascontiguousarray(found[order][:MAX_AXES])


@njit(cache=True)
def _similar_bases(wanted, steps, vectors, length_tolerance, angle_tolerance):
    """All bases of `vectors` (k, 3) of the wanted volume whose lengths and angles agree; their steps and misfits."""
    k = len(vectors)
    lengths = np.sqrt((vectors**2).sum(1))
    own = np.sqrt((wanted**2).sum(1))
    found, misfits = np.empty((k * k * k, 3, 3)), np.empty(k * k * k)
    total = 0
    chosen = np.empty(3, np.int64)
    for a in range(k):
        chosen[0] = a
        for b in range(k):
            chosen[1] = b
            first = _misfit(wanted, own, vectors, lengths, chosen, 0, 1, length_tolerance, angle_tolerance)
            if first == np.inf:
                continue
            for c in range(k):
                chosen[2] = c
                second = _misfit(
                    wanted, own, vectors, lengths, chosen, 0, 2, length_tolerance, angle_tolerance
                )
                if second == np.inf:
                    continue
                third = _misfit(
                    wanted, own, vectors, lengths, chosen, 1, 2, length_tolerance, angle_tolerance
                )
                if third == np.inf:
                    continue
                basis = steps[chosen]
                if abs(abs(np.linalg.det(basis)) - 1) > 1e-6:
                    continue
                found[total], misfits[total] = basis, max(first, second, third)
                total += 1
    return found[:total], misfits[:total]


@njit(cache=True)
def _misfit(wanted, own, vectors, lengths, chosen, i, j, length_tolerance, angle_tolerance):
    """How far two vectors are from two wanted ones in lengths and angle; infinite beyond the tolerances."""
    p, q = chosen[i], chosen[j]
    first, second = abs(np.log(lengths[p] / own[i])), abs(np.log(lengths[q] / own[j]))
    if max(first, second) > length_tolerance:
        return np.inf
    given = np.arccos(min(1.0, max(-1.0, (vectors[p] * vectors[q]).sum() / (lengths[p] * lengths[q]))))
    angle = np.arccos(min(1.0, max(-1.0, (wanted[i] * wanted[j]).sum() / (own[i] * own[j]))))
    if abs(given - angle) > angle_tolerance:
        return np.inf
    return max(first, second) + abs(given - angle)


@njit(cache=True)
def _lay_over(lattice, frac, numbers, other, other_numbers, axes):
    """Best of all axes and origins: its index (-1 for none), mean square displacement, relaxed coordinates (n, 3)."""
    n = len(numbers)
    fewest, anchor = n + 1, 0
    for i in range(n):
        count = 0
        for j in range(n):
            count += numbers[j] == numbers[i]
        if count < fewest:
            fewest, anchor = count, i
    best, best_cost = -1, np.inf
    best_moved = np.zeros((n, 3))
    steps = np.empty((n, 3))
    used = np.empty(n, np.bool_)
    for m in range(len(axes)):
        turned = other @ np.linalg.inv(axes[m])
        for start in range(n):
            if other_numbers[start] != numbers[anchor]:
                continue
            used[:] = False
            total = 0.0
            for i in range(n):
                chosen, nearest = -1, np.inf
                d0 = d1 = d2 = 0.0
                for j in range(n):
                    if used[j] or other_numbers[j] != numbers[i]:
                        continue
                    a = turned[j, 0] - turned[start, 0] + frac[anchor, 0] - frac[i, 0]
                    b = turned[j, 1] - turned[start, 1] + frac[anchor, 1] - frac[i, 1]
                    c = turned[j, 2] - turned[start, 2] + frac[anchor, 2] - frac[i, 2]
                    a -= np.rint(a)
                    b -= np.rint(b)
                    c -= np.rint(c)
                    square = 0.0
                    for k in range(3):
                        x = a * lattice[0, k] + b * lattice[1, k] + c * lattice[2, k]
                        square += x * x
                    if square < nearest:
                        chosen, nearest = j, square
                        d0, d1, d2 = a, b, c
                used[chosen] = True
                steps[i, 0], steps[i, 1], steps[i, 2] = d0, d1, d2
                total += nearest
                # The shift of the origin lowers a sum at most to a share of it; hopeless starts end early.
                if total > 4.0 * best_cost * n + 1.0:
                    break
            if total > 4.0 * best_cost * n + 1.0:
                continue
            cost = 0.0
            mean = np.array([steps[:, 0].mean(), steps[:, 1].mean(), steps[:, 2].mean()])
            for i in range(n):
                moved = (steps[i] - mean) @ lattice
                cost += moved @ moved
            cost /= n
            if cost < best_cost - 1e-6:
                best, best_cost = m, cost
                best_moved = frac + steps - mean
    return best, best_cost, best_moved
