"""What is read from a structure file, and the checks that every format shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.crystals import wrap
from mapcsp.elements import SYMBOLS
from mapcsp.records import Crystal

# ASSUME: two atoms of a real crystal are never this near; the shortest bond, of hydrogen, is .74 Å. Images of one site that
# are nearer are one atom on a special position whose coordinates are rounded.
COINCIDENT_ANG = 0.3
# Hydrogen's isotopes have symbols of their own in diffraction files, and the same chemistry.
ISOTOPES = {"D": "H", "T": "H"}


class UnreadableError(ValueError):
    """Why one crystal of a file cannot be told; it becomes the reason of a `ReadCrystal`."""


@dataclass(frozen=True, eq=False)
class ReadCrystal:
    """One crystal of a file, or why there is none.

    name: the file, with `#2` for its second crystal where it holds several. crystal: in the file's own cell, None if it
    cannot be told. reason: why not. cautions: what was taken from the file in a way that its writer should know of.
    """

    name: str
    crystal: Crystal | None
    reason: str = ""
    cautions: tuple[str, ...] = ()


def element_symbol(text: str) -> tuple[str, str]:
    """The element that a symbol stands for, and a caution if it is an isotope; raises UnreadableError."""
    symbol = text.strip().capitalize()
    if symbol in ISOTOPES:
        return ISOTOPES[symbol], f"{symbol} is read as {ISOTOPES[symbol]}"
    if symbol not in SYMBOLS:
        raise UnreadableError(f"{text!r} is no element from H to Pu")
    return symbol, ""


def sound_crystal(lattice_ang: np.ndarray, species: Sequence[str], frac_coords: np.ndarray) -> Crystal:
    """A crystal with its coordinates in [0, 1); raises UnreadableError for numbers that describe none."""
    lattice = np.array(lattice_ang, dtype=float).reshape(3, 3)
    frac = np.array(frac_coords, dtype=float).reshape(-1, 3)
    if not species:
        raise UnreadableError("no atoms")
    if not (np.isfinite(lattice).all() and np.isfinite(frac).all()):
        raise UnreadableError("a lattice vector or a coordinate is not a finite number")
    lengths = np.linalg.norm(lattice, axis=1)
    # The share of a box of these edges that the cell fills; the flattest cells of real crystals fill a tenth.
    if not lengths.min() > 0 or abs(np.linalg.det(lattice)) < 1e-3 * lengths.prod():
        raise UnreadableError("the cell has no volume")
    crystal = Crystal(lattice, tuple(species), wrap(frac))
    if (pair := coincident_atoms(crystal)) is not None:
        names = " and ".join(f"{i + 1} ({crystal.species[i]})" for i in pair)
        raise UnreadableError(f"atoms {names} stand at one place")
    return crystal


def coincident_atoms(crystal: Crystal) -> tuple[int, int] | None:
    """The first two atoms within COINCIDENT_ANG of each other, or None."""
    from scipy.spatial import cKDTree

    # A step of 1 Å is at most this far in fractional coordinates, whatever its direction.
    reach = COINCIDENT_ANG * float(np.linalg.norm(np.linalg.inv(crystal.lattice_ang), 2))
    frac = np.clip(crystal.frac_coords, 0.0, np.nextafter(1.0, 0.0))
    pairs = cKDTree(frac, boxsize=1.0).query_pairs(reach, output_type="ndarray")
    step = frac[pairs[:, 0]] - frac[pairs[:, 1]]
    near = np.linalg.norm((step - np.rint(step)) @ crystal.lattice_ang, axis=1) < COINCIDENT_ANG
    if not near.any():
        return None
    first, second = min(map(tuple, pairs[near].tolist()))
    return first, second
