"""Space groups and their Wyckoff positions (ITA standard setting: unique axis b, hexagonal axes, origin choice 2).

The table ships as `resources/tables/wyckoff.json`, built once from pyxtal by `mapcsp.symmetry.build_table`.
All functions work in the conventional basis unless they say otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from mapcsp.errors import UserError
from mapcsp.resources import resource_path

TABLE = "tables/wyckoff.json"
# Translations in the table are integers in units of 1/24: every ITA fraction is one.
GRID = 24
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position.

    multiplicity: atoms in the *primitive* cell. letter: ITA. site_symmetry: symbol.
    rotation: (3, 3), offset: (3,): its representative point is rotation @ u + offset, u = (x, y, z).
    free_axes: which of x, y, z the point depends on. images: see `orbit_affine`.
    """

    letter: str
    multiplicity: int
    site_symmetry: str
    rotation: np.ndarray
    offset: np.ndarray
    free_axes: tuple[int, ...]

    @property
    def n_free(self) -> int:
        """Free coordinates of an atom here."""
        return len(self.free_axes)


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """A space group in its standard setting.

    rotations: (k, 3, 3), translations: (k, 3): operations of the conventional cell, centring included.
    centring: (c, 3), centring translations, zero first. positions: from `a` to the general position.
    """

    number: int
    symbol: str
    rotations: np.ndarray
    translations: np.ndarray
    centring: np.ndarray
    positions: tuple[WyckoffPosition, ...]

    @cached_property
    def by_letter(self) -> dict[str, WyckoffPosition]:
        """Positions by their letter."""
        return {p.letter: p for p in self.positions}

    @cached_property
    def centring_symbol(self) -> str:
        """P, A, C, I, F or R."""
        return self.symbol[0]

    @cached_property
    def primitive_transform(self) -> np.ndarray:
        """(3, 3), rows: primitive lattice vectors in the conventional basis."""
        return PRIMITIVE[self.centring_symbol]

    def is_lattice_vector(self, difference: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
        """Whether each vector (…, 3) is a lattice translation, centring included; returns (…,) bool."""
        delta = difference[..., None, :] - self.centring
        delta -= np.rint(delta)
        return (np.abs(delta) < tolerance).all(-1).any(-1)

    def orbit_affine(self, letter: str) -> tuple[np.ndarray, np.ndarray]:
        """Affine maps of one Wyckoff position's atoms in the primitive cell.

        Returns rotations (m, 3, 3) and offsets (m, 3), m the primitive multiplicity: atom j lies at
        rotations[j] @ u + offsets[j] in the conventional basis, u the position's (x, y, z); the first is the representative.
        """
        return _orbit(self, letter)


@cache
def _orbit(group: SpaceGroup, letter: str) -> tuple[np.ndarray, np.ndarray]:
    position = group.by_letter[letter]
    rotations = group.rotations @ position.rotation
    offsets = group.rotations @ position.offset + group.translations
    kept: list[int] = []
    for index in range(len(rotations)):
        same = [
            k
            for k in kept
            if np.abs(rotations[index] - rotations[k]).max() < TOLERANCE
            and group.is_lattice_vector(offsets[index] - offsets[k])
        ]
        if not same:
            kept.append(index)
    if len(kept) != position.multiplicity:
        raise AssertionError(
            f"{group.number}{letter}: {len(kept)} images, table says {position.multiplicity}"
        )
    return rotations[kept], offsets[kept]


PRIMITIVE = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}


@cache
def _table() -> dict[str, dict]:
    path: Path = resource_path(TABLE)
    return json.loads(path.read_text(encoding="utf-8"))["space_groups"]


@cache
def space_group(number: int) -> SpaceGroup:
    """Look up a space group by its international number; raises UserError outside 1-230."""
    if not 1 <= number <= 230:
        raise UserError(f"space group {number}: expected a number from 1 to 230")
    raw = _table()[str(number)]
    operations = np.array(raw["operations"], dtype=float).reshape(-1, 3, 4)
    rotations, translations = operations[..., :3], operations[..., 3] / GRID
    identity = (np.abs(rotations - np.eye(3)).max((1, 2)) < TOLERANCE).nonzero()[0]
    centring = np.mod(translations[identity], 1.0)
    centring = centring[np.lexsort(centring.T)]
    positions = []
    for letter, multiplicity, site_symmetry, affine in raw["positions"]:
        matrix = np.array(affine, dtype=float).reshape(3, 4)
        rotation, offset = matrix[:, :3], matrix[:, 3] / GRID
        free_axes = tuple(int(i) for i in np.abs(rotation).max(0).nonzero()[0])
        positions.append(
            WyckoffPosition(letter, multiplicity // len(centring), site_symmetry, rotation, offset, free_axes)
        )
    return SpaceGroup(number, raw["symbol"], rotations, translations, centring, tuple(positions))
