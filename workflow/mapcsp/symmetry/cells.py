"""Conventional cells: crystal systems, their free parameters, and lattices from cell parameters."""

from __future__ import annotations

from functools import cache

import numpy as np

# Each crystal system: (last space group of it, name, indices of a, b, c, alpha, beta, gamma that are free).
_SYSTEMS = (
    (2, "triclinic", (0, 1, 2, 3, 4, 5)),
    (15, "monoclinic", (0, 1, 2, 4)),
    (74, "orthorhombic", (0, 1, 2)),
    (142, "tetragonal", (0, 2)),
    (167, "trigonal", (0, 2)),
    (194, "hexagonal", (0, 2)),
    (230, "cubic", (0,)),
)
# Which free parameter each of a, b, c copies, and its fixed angles in degrees, by crystal system.
_TIED_LENGTHS = {"tetragonal": (0, 0, 2), "trigonal": (0, 0, 2), "hexagonal": (0, 0, 2), "cubic": (0, 0, 0)}
_ANGLES = {"trigonal": (90.0, 90.0, 120.0), "hexagonal": (90.0, 90.0, 120.0)}


@cache
def crystal_system(number: int) -> str:
    """Crystal system of a space group; `trigonal` ones are in hexagonal axes here, rhombohedral lattices included."""
    return next(name for last, name, _ in _SYSTEMS if number <= last)


@cache
def free_cell_indices(number: int) -> tuple[int, ...]:
    """Indices into (a, b, c, alpha, beta, gamma) that the space group leaves free."""
    return next(free for last, _, free in _SYSTEMS if number <= last)


def impose_crystal_system(cells: np.ndarray, number: int) -> np.ndarray:
    """Make cells exact for the space group: tied lengths become their geometric mean, fixed angles their value.

    cells: (…, 6), Å and degrees. Returns a new array.
    """
    system = crystal_system(number)
    exact = np.array(cells, dtype=float)
    tied = _TIED_LENGTHS.get(system)
    if tied:
        for source in set(tied):
            members = [i for i in range(3) if tied[i] == source]
            exact[..., members] = np.exp(np.log(exact[..., members]).mean(-1, keepdims=True))
    free = free_cell_indices(number)
    for index, angle in zip((3, 4, 5), _ANGLES.get(system, (90.0, 90.0, 90.0))):
        if index not in free:
            exact[..., index] = angle
    return exact


def impose_crystal_systems(cells: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """`impose_crystal_system` for cells (p, 6) of different space groups, `numbers` (p,)."""
    exact = np.array(cells, dtype=float)
    tied, angles = _tied_and_angles()
    fixed = angles[numbers]
    exact[:, 3:] = np.where(np.isnan(fixed), exact[:, 3:], fixed)
    for n_tied in (2, 3):
        mine = tied[numbers] == n_tied
        exact[mine, :n_tied] = np.exp(np.log(exact[mine, :n_tied]).mean(-1, keepdims=True))
    return exact


@cache
def _tied_and_angles() -> tuple[np.ndarray, np.ndarray]:
    """By space group: how many of the first lengths are equal, (231,), and fixed angles or NaN, (231, 3)."""
    tied, angles = np.zeros(231, dtype=int), np.full((231, 3), np.nan)
    for number in range(1, 231):
        system = crystal_system(number)
        tied[number] = _TIED_LENGTHS.get(system, (0,)).count(0)
        for index in range(3):
            if index + 3 not in free_cell_indices(number):
                angles[number, index] = _ANGLES.get(system, (90.0, 90.0, 90.0))[index]
    return tied, angles


def lattice_from_cell(cells: np.ndarray) -> np.ndarray:
    """Lattice vectors of cells: (…, 6), Å and degrees, to (…, 3, 3), rows; a along x, b in the xy plane.

    Impossible angles give NaN, which callers check.
    """
    a, b, c = (cells[..., i] for i in range(3))
    cosines = np.cos(np.radians(cells[..., 3:]))
    # Exactly 90 degrees must give exactly 0, so that symmetric cells are exact.
    cosines = np.where(cells[..., 3:] == 90.0, 0.0, cosines)
    cos_alpha, cos_beta, cos_gamma = (cosines[..., i] for i in range(3))
    sin_gamma = np.sqrt(1 - cos_gamma**2)
    lattice = np.zeros((*cells.shape[:-1], 3, 3))
    lattice[..., 0, 0] = a
    lattice[..., 1, 0] = b * cos_gamma
    lattice[..., 1, 1] = b * sin_gamma
    lattice[..., 2, 0] = c * cos_beta
    lattice[..., 2, 1] = c * (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    with np.errstate(invalid="ignore"):
        lattice[..., 2, 2] = np.sqrt(c**2 - lattice[..., 2, 0] ** 2 - lattice[..., 2, 1] ** 2)
    return lattice


def cell_from_lattice(lattice_ang: np.ndarray) -> np.ndarray:
    """Cell parameters (…, 6), Å and degrees, of lattices (…, 3, 3), rows."""
    lengths = np.linalg.norm(lattice_ang, axis=-1)
    unit = lattice_ang / lengths[..., None]
    cosines = np.stack([(unit[..., i, :] * unit[..., j, :]).sum(-1) for i, j in ((1, 2), (0, 2), (0, 1))], -1)
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))], -1)


def cell_volume_ang3(cells: np.ndarray) -> np.ndarray:
    """Volumes (…), Å³, of cells (…, 6)."""
    return np.abs(np.linalg.det(lattice_from_cell(np.asarray(cells, dtype=float))))


def scale_to_volume(cells: np.ndarray, volume_ang3: np.ndarray | float) -> np.ndarray:
    """Scale the lengths of cells (…, 6) so that their volumes become `volume_ang3` (…)."""
    scaled = np.array(cells, dtype=float)
    factor = np.cbrt(np.asarray(volume_ang3) / cell_volume_ang3(scaled))
    scaled[..., :3] *= factor[..., None]
    return scaled


def cell_shape(cells: np.ndarray) -> np.ndarray:
    """Shapes (…, 5) of cells (…, 6): ln(b/a), ln(c/a), cosines of the angles."""
    logs = np.log(cells[..., 1:3] / cells[..., :1])
    return np.concatenate([logs, np.cos(np.radians(cells[..., 3:]))], -1)


def cell_from_shape(shapes: np.ndarray) -> np.ndarray:
    """Cells (…, 6) with a = 1 Å of shapes (…, 5); inverse of `cell_shape` up to scale."""
    lengths = np.exp(np.concatenate([np.zeros_like(shapes[..., :1]), shapes[..., :2]], -1))
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(shapes[..., 2:], -0.95, 0.95)))], -1)


@cache
def bravais_lattice(number: int) -> str:
    """Pearson's two letters of a space group's Bravais lattice, such as `cF`; side-centred cells are `oS` and `mS`."""
    from mapcsp.symmetry.wyckoff import space_group

    families = {"triclinic": "a", "monoclinic": "m", "orthorhombic": "o", "tetragonal": "t", "cubic": "c"}
    centring = space_group(number).centring_symbol
    return families.get(crystal_system(number), "h") + {"A": "S", "C": "S"}.get(centring, centring)
