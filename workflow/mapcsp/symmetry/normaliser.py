"""Changes of origin and axes that keep a space group: which Wyckoff letters they exchange.

Two labels that such a change turns into each other describe the same crystals (ITA, chapter 3.5). The table
`resources/tables/normalisers.json` is built once by `build_normaliser_table` and read by `letter_exchanges`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from mapcsp.resources import resource_path
from mapcsp.store import write_text
from mapcsp.symmetry.wyckoff import GRID, SpaceGroup, space_group

TABLE = "tables/normalisers.json"


@dataclass(frozen=True, eq=False)
class LetterExchange:
    """One change of axes and origin, x' = rotation @ x + shift in the conventional basis.

    letters: the letter that each position gets, by its old letter.
    """

    letters: dict[str, str]
    rotation: np.ndarray
    shift: np.ndarray

    def apply_to_lattice(self, lattice_ang: np.ndarray) -> np.ndarray:
        """The same lattice in the new axes: (3, 3), rows."""
        return np.linalg.inv(self.rotation).T @ lattice_ang

    def apply_to_points(self, frac_coords: np.ndarray) -> np.ndarray:
        """The same points (n, 3) in the new axes and origin."""
        return frac_coords @ self.rotation.T + self.shift


@cache
def letter_exchanges(number: int) -> tuple[LetterExchange, ...]:
    """All exchanges of a space group, the identity first."""
    letters = "".join(p.letter for p in space_group(number).positions)
    found = []
    for image, rotation, shift in _table()[str(number)]:
        found.append(
            LetterExchange(
                dict(zip(letters, image)),
                np.array(rotation, dtype=float).reshape(3, 3),
                np.array(shift) / GRID,
            )
        )
    return tuple(found)


@cache
def _table() -> dict[str, list]:
    return json.loads(resource_path(TABLE).read_text(encoding="utf-8"))["space_groups"]


@cache
def _unimodular() -> np.ndarray:
    """All (m, 3, 3) integer matrices with entries -1, 0, 1 and determinant ±1, the plainest first."""
    matrices = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    matrices = matrices[np.isin(np.rint(np.linalg.det(matrices)), (-1, 1))]
    # Plain: few non-zero entries, close to the identity, so that cells change as little as they can.
    cost = np.abs(matrices).sum((1, 2)) * 100 + np.abs(matrices - np.eye(3)).sum((1, 2))
    return matrices[np.argsort(cost, kind="stable")]


def _shifts(number: int) -> np.ndarray:
    """Origin shifts to try, in units of 1/24. ASSUME: eighths, and thirds in hexagonal axes, suffice (ITA table 3.5.2)."""
    if number <= 2:
        steps: tuple = ((0, 12),) * 3
    elif 143 <= number <= 194:
        steps = ((0, 8, 16), (0, 8, 16), tuple(range(0, 24, 2)))
    else:
        steps = (tuple(range(0, 24, 3)),) * 3
    shifts = np.array(list(product(*steps)))
    return shifts[np.argsort(np.minimum(shifts, GRID - shifts).sum(1), kind="stable")]


def find_exchanges(number: int) -> list[tuple[str, list[int], list[int]]]:
    """Search the exchanges of one space group: (letters in the order of the positions, rotation, shift in 1/24).

    Kept once for each pair of (letters, permutation of orthorhombic axes), since those decide label and cell.
    """
    group = space_group(number)
    index = {tuple(np.rint(r).astype(int).ravel()): i for i, r in reversed(list(enumerate(group.rotations)))}
    distinct = sorted(set(index.values()))
    rotations, translations = group.rotations[distinct], group.translations[distinct]
    shifts = _shifts(number) / GRID
    kept: dict[tuple, tuple[str, list[int], list[int]]] = {}
    for matrix in _unimodular():
        inverse = np.rint(np.linalg.inv(matrix))
        images = matrix @ rotations @ inverse
        targets: list = [index.get(tuple(np.rint(w).astype(int).ravel())) for w in images]
        if any(t is None for t in targets) or not group.is_lattice_vector(group.centring @ matrix.T).all():
            continue
        wanted = group.translations[targets]
        # (I - W') p + P w - w' must be a lattice vector for every operation.
        misfit = np.einsum("kij,sj->ski", np.eye(3) - images, shifts) + (translations @ matrix.T - wanted)
        good = group.is_lattice_vector(misfit).all(1)
        # Only orthorhombic cells look different after an exchange that keeps the letters: their axes are permuted.
        axes = tuple(np.abs(matrix).ravel()) if 16 <= number <= 74 else ()
        for shift in shifts[good]:
            if number == 1:
                return [("a", [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0])]
            letters = _exchange(group, matrix, shift)
            key = (letters, axes)
            if key not in kept:
                kept[key] = (
                    letters,
                    [int(v) for v in matrix.ravel()],
                    [int(v) for v in np.rint(shift * GRID)],
                )
    return list(kept.values())


def _exchange(group: SpaceGroup, matrix: np.ndarray, shift: np.ndarray) -> str:
    generic = np.array([0.1234, 0.2713, 0.4391])
    letters = []
    for position in group.positions:
        point = matrix @ (position.rotation @ generic + position.offset) + shift
        same_kind = [
            q
            for q in group.positions
            if (q.multiplicity, q.n_free) == (position.multiplicity, position.n_free)
        ]
        letters.append(next(q.letter for q in same_kind if _lies_on(group, q.letter, point)))
    return "".join(letters)


def _lies_on(group: SpaceGroup, letter: str, point: np.ndarray) -> bool:
    complements, offsets = _complements(group, letter)
    away = np.mod(point - offsets, 1.0)[:, None] + _NEAR[None]
    away = (away[:, :, None] + group.centring).reshape(len(offsets), -1, 3)
    return bool((np.abs(away @ complements.transpose(0, 2, 1)).max(-1) < 1e-6).any())


_NEAR = np.array(list(product((-2, -1, 0, 1), repeat=3)))


@cache
def _complements(group: SpaceGroup, letter: str) -> tuple[np.ndarray, np.ndarray]:
    """Per image of an orbit, the projector (3, 3) off its line or plane, and its offset (3,)."""
    position = group.by_letter[letter]
    rotations, offsets = group.orbit_affine(letter)
    bases = rotations[:, :, list(position.free_axes)]
    return np.eye(3) - bases @ np.linalg.pinv(bases), offsets


def build_normaliser_table(output: Path) -> None:
    """Write the exchanges of the 230 space groups."""
    lines = []
    for number in range(1, 231):
        lines.append(f'"{number}": {json.dumps(find_exchanges(number), separators=(",", ":"))}')
    body = ",\n".join(lines)
    write_text(
        output,
        f'{{"source": "mapcsp.symmetry.normaliser", "shift_unit": "1/{GRID}", "space_groups": {{\n{body}\n}}}}\n',
    )
