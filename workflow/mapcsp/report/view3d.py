"""What the browser needs to draw a crystal: atoms of the unit cell with its boundary, bonds, colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml
from pymatgen.core import Structure
from scipy.spatial import cKDTree

from mapcsp.elements import covalent_radius_ang, is_metal

# AlphaCrystal's contact rule: a pair bonds up to this much beyond the sum of its covalent radii.
BOND_TOLERANCE_ANG = 0.4
# Atoms this close to a face, as a share of the cell, are drawn on the opposite face too.
BOUNDARY = 0.02
MAX_ATOMS = 400
# Colours of one crystal closer than this, in steps of red, green and blue, are taken for alike.
ALIKE = 120
DECIMALS = 3


@cache
def _scheme(name: str) -> dict[str, tuple[int, int, int]]:
    """A colour scheme that pymatgen ships."""
    text = (resources.files("pymatgen.core") / "ElementColorSchemes.yaml").read_text(encoding="utf-8")
    return {symbol: tuple(rgb) for symbol, rgb in yaml.safe_load(text)[name].items()}


def element_colours(symbols: Sequence[str]) -> dict[str, str]:
    """Colours of the elements of one crystal as `#rrggbb`: Jmol's, close to Corey-Pauling-Koltun.

    Where two would look alike (Ca and F are both green), the later one takes VESTA's.
    """
    chosen: dict[str, tuple[int, int, int]] = {}
    for symbol in sorted(set(symbols), key=is_metal):
        options = [_scheme(name).get(symbol, (200, 200, 200)) for name in ("Jmol", "VESTA")]
        apart = [min((math.dist(o, other) for other in chosen.values()), default=math.inf) for o in options]
        chosen[symbol] = options[0] if apart[0] >= min(ALIKE, apart[1]) else options[1]
    return {symbol: "#{:02x}{:02x}{:02x}".format(*rgb) for symbol, rgb in chosen.items()}


def scene(structure: Structure) -> dict[str, Any]:
    """The unit cell as JSON-ready lists, in Å about the cell's centre.

    Returns `elements` (symbol, colour, covalent radius), `atoms` ([x, y, z, element]), `bonds` ([atom,
    atom]) and `lattice` (rows). Atoms on the boundary appear on every face, edge or corner that they belong
    to.
    """
    symbols = [site.specie.symbol for site in structure]
    elements = sorted(set(symbols))
    colours = element_colours(elements)
    lattice = np.array(structure.lattice.matrix)
    atoms, kinds = _with_boundary(structure, symbols, elements)
    cartesian = (atoms - 0.5) @ lattice
    return {
        "lattice": np.round(lattice, DECIMALS).tolist(),
        "elements": [{"symbol": s, "colour": colours[s], "radius": covalent_radius_ang(s)} for s in elements],
        "atoms": [[*map(float, np.round(xyz, DECIMALS)), kind] for xyz, kind in zip(cartesian, kinds)],
        "bonds": _bonds(cartesian, kinds, elements),
    }


def _with_boundary(
    structure: Structure, symbols: list[str], elements: list[str]
) -> tuple[np.ndarray, list[int]]:
    frac = np.mod(np.array(structure.frac_coords), 1.0)
    frac[frac > 1.0 - 1e-3] = 0.0
    positions, kinds = [], []
    for xyz, symbol in zip(frac, symbols):
        shifts = [(0, 1) if x < BOUNDARY else (0, -1) if x > 1 - BOUNDARY else (0,) for x in xyz]
        for i in shifts[0]:
            for j in shifts[1]:
                for k in shifts[2]:
                    positions.append(xyz + (i, j, k))
                    kinds.append(elements.index(symbol))
    if len(positions) > MAX_ATOMS:
        return frac, [elements.index(symbol) for symbol in symbols]
    return np.array(positions), kinds


def _bonds(cartesian: np.ndarray, kinds: list[int], elements: list[str]) -> list[list[int]]:
    """Pairs within the contact rule; metal pairs only where the crystal has nothing but metals."""
    radius = [covalent_radius_ang(symbol) for symbol in elements]
    metal = [is_metal(symbol) for symbol in elements]
    pairs = cKDTree(cartesian).query_pairs(2 * max(radius) + BOND_TOLERANCE_ANG, output_type="ndarray")
    bonds = []
    for i, j in sorted(map(tuple, pairs.tolist())):
        a, b = kinds[i], kinds[j]
        if metal[a] and metal[b] and not all(metal):
            continue
        if np.linalg.norm(cartesian[i] - cartesian[j]) <= radius[a] + radius[b] + BOND_TOLERANCE_ANG:
            bonds.append([i, j])
    return bonds
