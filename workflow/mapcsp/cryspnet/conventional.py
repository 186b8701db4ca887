"""The 14 Bravais lattices, the cell parameters each leaves free, and conventional cells of crystals (CRYSPNet, Appendix A).

Every cell is first brought to one setting a Bravais lattice, so that equal lattices have equal parameters:
rhombohedral lattices have rhombohedral axes (Appendix A), side-centred ones C centring, orthorhombic ones ascending axes
where symmetry leaves their order open, monoclinic ones the reduced mesh with beta at least 90 degrees, triclinic ones the
Niggli cell. The paper leaves them as their entries give them and blames the mixture of settings for its low R² there
(section III.C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapcsp.crystals import wrap
from mapcsp.records import Crystal
from mapcsp.symmetry.cells import bravais_lattice, cell_from_lattice, impose_crystal_system, lattice_from_cell
from mapcsp.symmetry.detect import standardise
from mapcsp.symmetry.wyckoff import space_group

PARAMETERS = ("a", "b", "c", "alpha", "beta", "gamma")

BRAVAIS_LATTICES: tuple[str, ...] = (
    "cF",
    "cI",
    "cP",
    "hP",
    "hR",
    "tI",
    "tP",
    "oF",
    "oI",
    "oS",
    "oP",
    "mS",
    "mP",
    "aP",
)
"""Pearson's symbols in the order of the paper's tables."""

PAPER_NAMES: dict[str, str] = dict(
    zip(
        BRAVAIS_LATTICES,
        (
            "cubic (F)",
            "cubic (I)",
            "cubic (P)",
            "hexagonal (P)",
            "rhombohedral (P)",
            "tetragonal (I)",
            "tetragonal (P)",
            "orthorhombic (F)",
            "orthorhombic (I)",
            "orthorhombic (C)",
            "orthorhombic (P)",
            "monoclinic (C)",
            "monoclinic (P)",
            "triclinic (P)",
        ),
    )
)
"""The paper's names of the Bravais lattices."""

_FREE = {
    "c": ("a",),
    "hP": ("a", "c"),
    "hR": ("a", "alpha"),
    "t": ("a", "c"),
    "o": ("a", "b", "c"),
    "m": ("a", "b", "c", "beta"),
    "a": PARAMETERS,
}


def free_parameters(bravais: str) -> tuple[str, ...]:
    """Names of the parameters that a Bravais lattice leaves free, such as (a, c) for `tI`."""
    return _FREE[bravais] if bravais in _FREE else _FREE[bravais[0]]


def free_values(bravais: str, cell: np.ndarray) -> np.ndarray:
    """The free ones of the six parameters of a cell in the setting of `bravais_cell`: (k,), Å and degrees."""
    return np.asarray(cell, dtype=float)[[PARAMETERS.index(p) for p in free_parameters(bravais)]]


def complete_cell(bravais: str, values: np.ndarray) -> np.ndarray:
    """Complete free parameters (k,), Å and degrees, to a cell (6,) by the symmetry of the lattice."""
    given = dict(zip(free_parameters(bravais), (float(v) for v in values)))
    a = given["a"]
    if bravais == "hR":
        return np.array([a, a, a, *[given["alpha"]] * 3])
    tied_b = a if bravais[0] in "cth" else given["b"]
    tied_c = a if bravais[0] == "c" else given["c"]
    gamma = 120.0 if bravais == "hP" else given.get("gamma", 90.0)
    return np.array([a, tied_b, tied_c, given.get("alpha", 90.0), given.get("beta", 90.0), gamma])


def possible_cell(cell: np.ndarray) -> np.ndarray:
    """The cell (6,) itself if its angles can form one; else angles moved towards 90 degrees until they can.

    Networks give the angles of a triclinic lattice one by one, so that nothing keeps them possible.
    """
    possible = np.array(cell, dtype=float)
    while not _has_volume(possible):
        possible[3:] = 90 + 0.9 * (possible[3:] - 90)
    return possible


def _has_volume(cell: np.ndarray) -> bool:
    cosines = np.cos(np.radians(cell[3:]))
    # The square of the volume at unit lengths; well above zero, so that no cell is flat.
    return bool(1 - (cosines**2).sum() + 2 * cosines.prod() > 0.01)


def rhombohedral_from_hexagonal(a_hexagonal_ang: float, c_hexagonal_ang: float) -> tuple[float, float]:
    """Rhombohedral (a, alpha), Å and degrees, of a lattice given in hexagonal axes (Appendix A)."""
    a2, c2 = a_hexagonal_ang**2, c_hexagonal_ang**2
    cosine = (2 * c2 - 3 * a2) / (2 * (c2 + 3 * a2))
    return float(np.sqrt(a2 / 3 + c2 / 9)), float(np.degrees(np.arccos(cosine)))


def hexagonal_from_rhombohedral(a_rhombohedral_ang: float, alpha_deg: float) -> tuple[float, float]:
    """Hexagonal (a, c), Å, of a rhombohedral lattice; the inverse of Appendix A. alpha_deg: below 120."""
    half = np.radians(alpha_deg) / 2
    c = a_rhombohedral_ang * np.sqrt(3 * (1 + 2 * np.cos(2 * half)))
    return float(2 * a_rhombohedral_ang * np.sin(half)), float(c)


@dataclass(frozen=True, eq=False)
class BravaisCell:
    """A conventional cell. bravais: Pearson's symbol. cell: (6,), Å and degrees, in the setting of this module."""

    bravais: str
    space_group: int
    cell: np.ndarray


def bravais_cell(number: int, cell: np.ndarray) -> BravaisCell:
    """Bring the standard conventional cell of a space group to the one setting of its Bravais lattice.

    number: space group; cell: (6,), Å and degrees, hexagonal axes for rhombohedral groups.
    """
    bravais = bravais_lattice(number)
    a, b, c = (float(v) for v in cell[:3])
    if bravais == "hR":
        length, angle = rhombohedral_from_hexagonal(a, c)
        set_cell = complete_cell(bravais, np.array([length, angle]))
    elif bravais[0] == "m":
        set_cell = _reduced_mesh(np.asarray(cell, dtype=float), side_centred=bravais == "mS")
    elif bravais == "oS" and space_group(number).centring_symbol == "A":
        # The paper's base-centred lattices have the centred face normal to c; a cyclic change keeps the handedness.
        set_cell = np.array([b, c, a, 90.0, 90.0, 90.0])
    elif bravais == "aP":
        set_cell = _niggli(np.asarray(cell, dtype=float))
    else:
        set_cell = np.array(cell, dtype=float)
        set_cell[:3] = _ordered_lengths(number, set_cell[:3])
    return BravaisCell(bravais, number, set_cell)


def standard_cell(number: int, cell: np.ndarray) -> np.ndarray:
    """A cell (6,) in the setting of `bravais_cell`, as the standard conventional cell of a space group of that lattice.

    The inverse of `bravais_cell`, but for the order of axes that it leaves to convention and other meshes of one lattice.
    """
    a, b, c = (float(v) for v in cell[:3])
    if bravais_lattice(number) == "hR":
        a, c = hexagonal_from_rhombohedral(a, float(cell[3]))
        return np.array([a, a, c, 90.0, 90.0, 120.0])
    lengths = (c, a, b) if space_group(number).centring_symbol == "A" else (a, b, c)
    return impose_crystal_system(np.array([*lengths, *cell[3:]]), number)


def conventional_cell(crystal: Crystal, symprec_ang: float = 0.1) -> BravaisCell:
    """Conventional cell of a crystal given in any cell; raises ValueError if no symmetry is found."""
    found = standardise(crystal, symprec_ang)
    exact = impose_crystal_system(cell_from_lattice(found.lattice_ang), found.space_group)
    return bravais_cell(found.space_group, exact)


def conventional_crystal(crystal: Crystal, symprec_ang: float = 0.1) -> Crystal:
    """All atoms of the standard conventional cell (hexagonal axes for rhombohedral groups) of a crystal in any cell.

    Raises ValueError if no symmetry is found.
    """
    found = standardise(crystal, symprec_ang)
    shifts = space_group(found.space_group).centring
    coords = (found.frac_coords[:, None] + shifts[None]).reshape(-1, 3)
    species = tuple(s for s in found.species for _ in range(len(shifts)))
    return Crystal(found.lattice_ang, species, wrap(coords))


# Orthorhombic groups whose symbol is the same whatever axis is called a, b or c; a <= b <= c then (section III.C).
_ALL_AXES_ALIKE = frozenset({16, 19, 22, 23, 24, 47, 48, 69, 70, 71})
# Those in which a and b may be exchanged: a <= b.
_A_AND_B_ALIKE = frozenset(
    {17, 18, 20, 21, 25, 27, 32, 34, 35, 37, 42, 43, 44, 45, 49, 50, 55, 56, 58, 59, 65, 66, 67, 68, 72, 74}
)
# Pbca and Ibca, in which the axes may be turned in a cycle: a is the shortest.
_CYCLE_ALIKE = frozenset({61, 73})


def _ordered_lengths(number: int, lengths: np.ndarray) -> np.ndarray:
    """Lengths in the order that the space group leaves to convention; unchanged where symmetry fixes the axes."""
    if number in _ALL_AXES_ALIKE:
        return np.sort(lengths)
    if number in _A_AND_B_ALIKE:
        return np.array([*np.sort(lengths[:2]), lengths[2]])
    if number in _CYCLE_ALIKE:
        return np.roll(lengths, -int(np.argmin(lengths)))
    return lengths


def _reduced_mesh(cell: np.ndarray, side_centred: bool) -> np.ndarray:
    """Shortest a and c in the plane normal to b, beta at least 90 degrees; with C centring a is kept modulo 2c.

    Where either naming is right (P lattices), a is the shorter, as in the paper's rule for groups without a glide.
    """
    beta = np.radians(cell[4])
    a = np.array([cell[0], 0.0])
    c = cell[2] * np.array([np.cos(beta), np.sin(beta)])
    # C centring (a + b) / 2 stays what it is under c + a and under a + 2c, but not under a + c.
    step = 2 if side_centred else 1
    for _ in range(200):
        to_c, to_a = int(np.rint(c @ a / (a @ a))), step * int(np.rint(a @ c / (c @ c) / step))
        shorter_c, shorter_a = c - to_c * a, a - to_a * c
        if to_c and np.linalg.norm(shorter_c) < np.linalg.norm(c) - 1e-9:
            c = shorter_c
        elif to_a and np.linalg.norm(shorter_a) < np.linalg.norm(a) - 1e-9:
            a = shorter_a
        else:
            break
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(c))
    obtuse = 180 - float(np.degrees(np.arccos(abs(a @ c) / (lengths[0] * lengths[1]))))
    if not side_centred:
        lengths = min(lengths), max(lengths)
    return np.array([lengths[0], cell[1], lengths[1], 90.0, obtuse, 90.0])


def _niggli(cell: np.ndarray) -> np.ndarray:
    """Niggli cell of a triclinic one."""
    from pymatgen.core import Lattice

    reduced = Lattice(lattice_from_cell(cell)).get_niggli_reduced_lattice()
    return np.array(reduced.parameters)
