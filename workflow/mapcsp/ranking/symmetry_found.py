"""The symmetry that a relaxed crystal has, found anew: relaxation may raise or lower that of its label."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from moyopy import Cell, MoyoDataset, Setting
from pymatgen.core import Element

from mapcsp.crystals import space_group_symbol, wrap
from mapcsp.records import Crystal


@dataclass(frozen=True, eq=False)
class FoundSymmetry:
    """Space group of a crystal and its symmetrised standard cells.

    space_group: 1-230. z: formula units in the primitive cell. primitive, conventional: symmetrised, ITA
    standard setting. symmetrised: False where the search failed, so that the cells are the crystal as it
    was, in group 1.
    """

    space_group: int
    z: int
    primitive: Crystal
    conventional: Crystal
    symmetrised: bool

    @property
    def symbol(self) -> str:
        """Hermann-Mauguin symbol, such as `Fm-3m`."""
        return space_group_symbol(self.space_group)


def find_symmetry(crystal: Crystal, symprec_ang: float) -> FoundSymmetry:
    """Find the space group at a tolerance in Å; a crystal in which the search fails counts as P1."""
    numbers = [Element(symbol).Z for symbol in crystal.species]
    cell = Cell(crystal.lattice_ang.tolist(), crystal.frac_coords.tolist(), numbers)
    try:
        found = MoyoDataset(cell, symprec=symprec_ang, setting=Setting.standard())
    except ValueError:
        return FoundSymmetry(1, formula_units(crystal), crystal, crystal, symmetrised=False)
    primitive = _crystal(found.prim_std_cell)
    return FoundSymmetry(
        found.number, formula_units(primitive), primitive, _crystal(found.std_cell), symmetrised=True
    )


def formula_units(crystal: Crystal) -> int:
    """How many reduced formula units a cell holds."""
    return gcd(*(crystal.species.count(symbol) for symbol in set(crystal.species)))


def _crystal(cell: Cell) -> Crystal:
    species = tuple(Element.from_Z(number).symbol for number in cell.numbers)
    return Crystal(np.array(cell.basis), species, wrap(np.array(cell.positions)))
