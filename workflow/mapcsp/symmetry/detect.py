"""Finds the space group and the symmetrised standard setting of a crystal (moyopy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mapcsp.elements import atomic_number
from mapcsp.records import Crystal


@dataclass(frozen=True, eq=False)
class StandardCell:
    """The symmetrised atoms of the primitive cell, in the conventional basis of the standard setting.

    lattice_ang: (3, 3), conventional. species, letters: (n,). frac_coords: (n, 3), conventional basis, in [0, 1).
    """

    space_group: int
    lattice_ang: np.ndarray
    species: tuple[str, ...]
    letters: tuple[str, ...]
    frac_coords: np.ndarray


def _dataset(crystal: Crystal, symprec_ang: float):
    import moyopy

    cell = moyopy.Cell(
        np.asarray(crystal.lattice_ang, dtype=float).tolist(),
        np.asarray(crystal.frac_coords, dtype=float).tolist(),
        [atomic_number(s) for s in crystal.species],
    )
    try:
        return moyopy.MoyoDataset(cell, symprec=symprec_ang, setting=moyopy.Setting.standard())
    except ValueError as error:
        raise ValueError(f"no symmetry found at {symprec_ang} Å: {error}") from None


def find_space_group(crystal: Crystal, symprec_ang: float = 0.1) -> int:
    """International number of a crystal's space group; raises ValueError if none is found."""
    return int(_dataset(crystal, symprec_ang).number)


def space_group_or_p1(crystal: Crystal, symprec_ang: float) -> int:
    """International number of a crystal's space group; 1 where the search fails, as the ranking counts such a crystal."""
    try:
        return find_space_group(crystal, symprec_ang)
    except ValueError:
        return 1


def standardise(crystal: Crystal, symprec_ang: float = 0.1) -> StandardCell:
    """Symmetrise a crystal in the standard setting; raises ValueError if no symmetry is found."""
    data = _dataset(crystal, symprec_ang)
    primitive = data.prim_std_cell
    lattice = np.array(data.std_cell.basis)
    # moyopy names the letters of the input's atoms; each primitive atom takes those of an input atom mapped onto it.
    source = {int(target): i for i, target in enumerate(data.mapping_std_prim)}
    order = [source[j] for j in range(len(primitive.numbers))]
    conventional = np.array(primitive.positions) @ np.array(primitive.basis) @ np.linalg.inv(lattice)
    return StandardCell(
        int(data.number),
        lattice,
        tuple(crystal.species[i] for i in order),
        tuple(data.wyckoffs[i] for i in order),
        np.mod(conventional, 1.0),
    )
