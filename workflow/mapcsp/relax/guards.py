"""Keeps impossible structures out of a relaxation and out of its results, each with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mapcsp.crystals import reduce_lattice, wrap
from mapcsp.elements import atomic_number, covalent_radius_ang
from mapcsp.records import Crystal
from mapcsp.relax.fragments import interaction_fault
from mapcsp.relax.neighbours import find_neighbours
from mapcsp.relax.potential import AtomBatch, Potential

# ASSUME: no bond of a real crystal is shorter than half the sum of covalent radii (Cordero et al., Dalton Trans. 2832,
# 2008); the shortest in the development data is .60 of it (CeMnTl; .68 in those of the Materials Project).
MIN_DISTANCE_SHARE = 0.5
# Clashing atoms are pushed to a little more than the limit, so that the first forces are bounded.
PUSHED_DISTANCE_SHARE = 0.6
MAX_PUSHES = 60
# ASSUME: crystals take 3 to 200 Å³ an atom (hydrogen-rich metals to caesium's 117); beyond, there is nothing to relax.
MIN_VOLUME_PER_ATOM_ANG3, MAX_VOLUME_PER_ATOM_ANG3 = 2.0, 300.0
MAX_NEAREST_DISTANCE_ANG = 6.0
# ASSUME: no compound forms with more than 6 eV an atom (the lowest known, fluorides and oxides, reach 4.5).
MIN_FORMATION_ENERGY_EV_PER_ATOM = -6.0
_COINCIDENT_ANG = 1e-6


@dataclass(frozen=True, eq=False)
class GuardVerdict:
    """A structure fit to start, or why not. crystal: None if rejected; reason: also says if atoms were pushed apart."""

    crystal: Crystal | None
    reason: str = ""


@dataclass(frozen=True)
class EndVerdict:
    """What is wrong with a relaxed structure, so that it is dropped, and what is doubtful; empty texts if nothing."""

    fault: str = ""
    caution: str = ""


def check_start(crystal: Crystal, potential: Potential) -> GuardVerdict:
    """Reject a structure that no relaxation can save, and push clashing atoms apart; never raises on bad numbers."""
    reason = _fault(crystal, potential)
    if reason:
        return GuardVerdict(None, reason)
    verdict = separate_atoms(crystal)
    if verdict.crystal is None:
        return verdict
    # No step would bring together what does not interact.
    fault, _ = interaction_fault(verdict.crystal, potential.cutoff_ang, potential.name)
    return GuardVerdict(None, fault) if fault else verdict


def check_end(
    crystal: Crystal, volume_change: float, max_volume_change: float, potential: Potential
) -> EndVerdict:
    """Why a relaxed structure is no result, and what is to be said of one that is."""
    if fault := _end_fault(crystal, volume_change, max_volume_change):
        return EndVerdict(fault)
    return EndVerdict(*interaction_fault(crystal, potential.cutoff_ang, potential.name))


def _end_fault(crystal: Crystal, volume_change: float, max_volume_change: float) -> str:
    if abs(volume_change) > max_volume_change:
        return f"the volume changed by {volume_change:+.0%}, more than relax.max_volume_change allows"
    nearest, share = nearest_contacts(crystal)
    if share < MIN_DISTANCE_SHARE:
        return f"atoms merged: a distance is {share:.2f} of the sum of covalent radii"
    if nearest > MAX_NEAREST_DISTANCE_ANG:
        return f"the crystal fell apart: an atom has no neighbour within {MAX_NEAREST_DISTANCE_ANG:.0f} Å"
    return ""


def nearest_contacts(crystal: Crystal) -> tuple[float, float]:
    """The largest nearest-neighbour distance, Å (inf if an atom has none within the limit), and the smallest distance as
    a share of the sum of covalent radii."""
    batch, radii = _as_batch(crystal), _radii(crystal)
    pairs = find_neighbours(batch, MAX_NEAREST_DISTANCE_ANG)
    distance = np.linalg.norm(pairs.vectors_ang, axis=1)
    nearest = np.full(crystal.n_atoms, np.inf)
    np.minimum.at(nearest, pairs.centres, distance)
    shares = distance / (radii[pairs.centres] + radii[pairs.neighbours])
    return float(nearest.max()), float(shares.min(initial=np.inf))


def separate_atoms(crystal: Crystal) -> GuardVerdict:
    """Push atoms that clash apart, all pairs at once (so that symmetry is kept), until none does."""
    radii = _radii(crystal)
    batch = _as_batch(crystal)
    start, positions = batch.positions_ang, batch.positions_ang.copy()
    for n_pushes in range(MAX_PUSHES):
        pairs = find_neighbours(
            replace(batch, positions_ang=positions), PUSHED_DISTANCE_SHARE * 2 * radii.max()
        )
        distance = np.linalg.norm(pairs.vectors_ang, axis=1)
        limit = radii[pairs.centres] + radii[pairs.neighbours]
        # Only a clash starts the pushing, but once begun it goes on to the wider limit.
        if not (distance < (PUSHED_DISTANCE_SHARE if n_pushes else MIN_DISTANCE_SHARE) * limit).any():
            if n_pushes == 0:
                return GuardVerdict(crystal)
            moved = wrap(positions @ np.linalg.inv(crystal.lattice_ang))
            largest = np.linalg.norm(positions - start, axis=1).max()
            return GuardVerdict(
                Crystal(crystal.lattice_ang, crystal.species, moved),
                f"clashing atoms were pushed apart by {largest:.2f} Å",
            )
        if (pairs.centres == pairs.neighbours)[distance < MIN_DISTANCE_SHARE * limit].any():
            return GuardVerdict(
                None, "the cell is so short in one direction that an atom clashes with its own image"
            )
        close = (distance < (PUSHED_DISTANCE_SHARE + 0.02) * limit) & (pairs.centres != pairs.neighbours)
        positions = positions + _pushes(
            pairs.centres[close], pairs.neighbours[close], pairs.vectors_ang[close], limit[close], len(radii)
        )
    return GuardVerdict(None, "atoms overlap and the cell has no room to push them apart")


def _pushes(
    centres: np.ndarray, neighbours: np.ndarray, vectors: np.ndarray, limit: np.ndarray, n: int
) -> np.ndarray:
    """How far each atom goes in one round: (n, 3), Å."""
    distance = np.linalg.norm(vectors, axis=1)
    direction = vectors / np.maximum(distance, _COINCIDENT_ANG)[:, None]
    # Two atoms at one point have no direction to go: a fixed one for each pair, opposite for its two members.
    for k in np.flatnonzero(distance < _COINCIDENT_ANG):
        low, high = sorted((int(centres[k]), int(neighbours[k])))
        angle = 2.399963 * (low * n + high)  # the golden angle spreads successive pairs
        height = np.cos(1.7 * (low + high + 1)) * 0.8
        ring = np.sqrt(1 - height * height)
        axis = np.array([ring * np.cos(angle), ring * np.sin(angle), height])
        direction[k] = axis if centres[k] == low else -axis
    gap = (PUSHED_DISTANCE_SHARE + 0.02) * limit - distance
    push = np.zeros((n, 3))
    np.add.at(push, centres, -0.5 * gap[:, None] * direction)
    length = np.linalg.norm(push, axis=1, keepdims=True)
    return push * np.minimum(1.0, 0.5 / np.maximum(length, 0.5))


def _fault(crystal: Crystal, potential: Potential) -> str:
    """Why a crystal cannot be relaxed at all, or an empty text."""
    lattice, frac = np.asarray(crystal.lattice_ang), np.asarray(crystal.frac_coords)
    if lattice.shape != (3, 3) or not crystal.species or frac.shape != (crystal.n_atoms, 3):
        return f"not a crystal: lattice {lattice.shape}, coordinates {frac.shape}, {crystal.n_atoms} atoms"
    if not (np.isfinite(lattice).all() and np.isfinite(frac).all()):
        return "lattice or coordinates are not finite"
    unknown = sorted({s for s in crystal.species} - potential.elements)
    if unknown:
        return f"{potential.name} was not trained on {', '.join(unknown)}"
    if np.abs(lattice).max() > 1e4 or np.abs(frac).max() > 1e6:
        return "lattice or coordinates are absurdly large"
    per_atom = crystal.volume_ang3 / crystal.n_atoms
    if not MIN_VOLUME_PER_ATOM_ANG3 <= per_atom <= MAX_VOLUME_PER_ATOM_ANG3:
        return (
            f"{per_atom:.3g} Å³ an atom is outside {MIN_VOLUME_PER_ATOM_ANG3:g}-{MAX_VOLUME_PER_ATOM_ANG3:g} Å³: "
            "a flat, tiny or huge cell"
        )
    shortest = np.linalg.norm(reduce_lattice(lattice)[0], axis=1).min()
    if shortest < MIN_DISTANCE_SHARE * 2 * _radii(crystal).max():
        return f"a lattice vector of {shortest:.2f} Å is too short: an atom clashes with its own image"
    return ""


def _as_batch(crystal: Crystal) -> AtomBatch:
    reduced, _ = reduce_lattice(crystal.lattice_ang)
    return AtomBatch(
        reduced[None],
        crystal.frac_coords @ crystal.lattice_ang,
        np.array([atomic_number(s) for s in crystal.species]),
        np.array([crystal.n_atoms]),
    )


def _radii(crystal: Crystal) -> np.ndarray:
    return np.array([covalent_radius_ang(s) for s in crystal.species])
