"""The crystals whose relaxed energies are the zero of formation energies: the ground state of each element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pymatgen.core import Lattice, Structure

from mapcsp.crystals import from_structure
from mapcsp.records import Crystal

# Elements that ASE's collection lacks (the lanthanides) or has in a form that is not for formation energies: close-packed
# stackings, and bcc; the lowest for the potential counts. Nearest-neighbour distances in Å only start the relaxation.
_METAL_DISTANCE_ANG = {
    "La": 3.74, "Ce": 3.45, "Pr": 3.64, "Nd": 3.63, "Pm": 3.62, "Sm": 3.60, "Eu": 3.87, "Gd": 3.58, "Tb": 3.53,
    "Dy": 3.51, "Ho": 3.49, "Er": 3.47, "Tm": 3.45, "Yb": 3.80, "Ac": 3.98, "Th": 3.57, "Pa": 3.24, "U": 3.0, "Np": 3.0,
    "Pu": 3.1,
}  # fmt: skip
_STACKINGS = {"fcc": "ABC", "hcp": "AB", "dhcp": "ABAC", "alpha-Sm": "ABABCBCAC"}


@dataclass(frozen=True, eq=False)
class ElementalCrystal:
    """A crystal of one element and what it is called."""

    element: str
    structure: str
    crystal: Crystal


def elemental_crystals(elements: frozenset[str]) -> list[ElementalCrystal]:
    """Starting crystals of elements, often several for one: the lowest after relaxation is its reference.

    Sources: ASE's `dcdft` collection (Lejaeghere et al., Science 351, aad3000, 2016); by hand where that has no ground
    state: S8 (Rettig and Trotter, Acta Cryst. C43, 2260, 1987), alpha-Mn (Bradley and Thewlis, Proc. R. Soc. A 115,
    456, 1927), alpha-U, alpha-Np and alpha-Pu (Donohue, The Structures of the Elements, 1974) and alpha-Pa.
    Needs ASE. Raises KeyError for an element that neither has.
    """
    from ase.collections import dcdft

    found = []
    for element in sorted(elements):
        if element in _BY_HAND:
            found.append(ElementalCrystal(element, _BY_HAND[element][0], _by_hand(element)))
        if element in _METAL_DISTANCE_ANG:
            distance = _METAL_DISTANCE_ANG[element]
            for name, stacking in _STACKINGS.items():
                found.append(ElementalCrystal(element, name, _close_packed(element, stacking, distance)))
            found.append(ElementalCrystal(element, "bcc", _body_centred(element, distance)))
        elif element not in ("S", "Mn"):
            atoms = dcdft[element]
            structure = Structure(
                np.array(atoms.cell), atoms.get_chemical_symbols(), atoms.get_scaled_positions()
            )
            found.append(ElementalCrystal(element, "ASE dcdft", _primitive(structure)))
    return found


def _primitive(structure: Structure) -> Crystal:
    return from_structure(structure.get_primitive_structure())


def _close_packed(element: str, stacking: str, distance_ang: float) -> Crystal:
    """Close-packed layers in a given order, in the hexagonal cell."""
    height = distance_ang * np.sqrt(2 / 3) * len(stacking)
    lattice = np.array(
        [[distance_ang, 0, 0], [-distance_ang / 2, distance_ang * np.sqrt(3) / 2, 0], [0, 0, height]]
    )
    shift = {"A": 0.0, "B": 1 / 3, "C": 2 / 3}
    frac = [[shift[layer], 2 * shift[layer] % 1.0, k / len(stacking)] for k, layer in enumerate(stacking)]
    return _primitive(Structure(lattice, [element] * len(stacking), frac))


def _body_centred(element: str, distance_ang: float) -> Crystal:
    half = distance_ang / np.sqrt(3)
    return Crystal(half * (np.ones((3, 3)) - 2 * np.eye(3)), (element,), np.zeros((1, 3)))


# Element: name, space group, (a, b, c, beta), sites.
_BY_HAND: dict[str, tuple[str, int, tuple[float, float, float, float], tuple[tuple[float, float, float], ...]]] = {
    "S": (
        "S8", 70, (10.4646, 12.8660, 24.4860, 90.0),
        ((0.9804, 0.0776, 0.0766), (0.9094, 0.1551, 0.2013), (0.8319, 0.1045, 0.1290), (0.9112, 0.0323, 0.2540)),
    ),
    "Mn": (
        "alpha-Mn", 217, (8.62, 8.62, 8.62, 90.0),
        ((0, 0, 0), (0.317, 0.317, 0.317), (0.356, 0.356, 0.034), (0.089, 0.089, 0.282)),
    ),
    "Pa": ("alpha-Pa", 139, (3.925, 3.925, 3.238, 90.0), ((0, 0, 0),)),
    "U": ("alpha-U", 63, (2.854, 5.869, 4.955, 90.0), ((0, 0.1025, 0.25),)),
    "Np": ("alpha-Np", 62, (6.663, 4.723, 4.887, 90.0), ((0.036, 0.25, 0.208), (0.319, 0.25, 0.842))),
    "Pu": (
        "alpha-Pu", 11, (6.183, 4.822, 10.963, 101.79),
        (
            (0.345, 0.25, 0.162), (0.767, 0.25, 0.168), (0.128, 0.25, 0.340), (0.657, 0.25, 0.457),
            (0.025, 0.25, 0.618), (0.473, 0.25, 0.653), (0.328, 0.25, 0.926), (0.894, 0.25, 0.933),
        ),
    ),
}  # fmt: skip


def _by_hand(element: str) -> Crystal:
    """Expand the sites by the space group (pymatgen, origin choice 1 where there are two) and take the primitive cell."""
    _, space_group, (a, b, c, beta), sites = _BY_HAND[element]
    lattice = Lattice.from_parameters(a, b, c, 90.0, beta, 90.0)
    structure = Structure.from_spacegroup(space_group, lattice, [element] * len(sites), sites)
    return _primitive(structure)
