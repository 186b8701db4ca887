"""Periodic facts that stages share, read from one table of the repository; light enough for any job.

The table (`resources/tables/element_features.csv`) is built by `mapcsp.features.build_table`; its README gives the source
of every column and the rule for missing values.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np

from mapcsp.errors import StoreError, UnsupportedElementError
from mapcsp.resources import resource_path

TABLE = "tables/element_features.csv"

# fmt: off
SYMBOLS: tuple[str, ...] = (
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar",
    "K", "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br",
    "Kr", "Rb", "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te",
    "I", "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm",
    "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn",
    "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu",
)
# fmt: on
"""Symbols of H to Pu, by atomic number from 1."""

SUPPORTED_ELEMENTS: frozenset[str] = frozenset(SYMBOLS) - {"Po", "At", "Rn", "Fr", "Ra"}
"""The 89 elements of M3GNet's training data (Chen and Ong, Nat. Comput. Sci. 2, 718, 2022): what formulas may hold."""

_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}

FEATURE_NAMES: tuple[str, ...] = (
    "mendeleev_number",
    "unpaired_electrons",
    "ionization_energy_ev",
    "covalent_radius_ang",
    "heat_of_formation_kj_per_mol",
    "dipole_polarizability_bohr3",
    "average_ionic_radius_ang",
    "group",
    "row",
    "electronegativity_pauling",
    "atomic_number",
)
"""The 11 properties of AlphaCrystal-II, Table 1, in its order, with units."""

TABLE_COLUMNS: tuple[str, ...] = ("symbol", *FEATURE_NAMES, "is_metal", "filled")
"""Columns of the table; `filled` names the features that no source gives for the element."""


@dataclass(frozen=True, eq=False)
class ElementTable:
    """The table in memory.

    features: (94, 11), raw units, rows by atomic number. metal: (94,), True for metals.
    filled: for each element, the features that the rule for missing values gave.
    """

    features: np.ndarray
    metal: np.ndarray
    filled: tuple[tuple[str, ...], ...]


@cache
def element_table() -> ElementTable:
    """Read the table once a process; raises UserError, naming the file, if it is missing or damaged."""
    path = resource_path(TABLE)
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        if [row["symbol"] for row in rows] != list(SYMBOLS) or set(rows[0]) != set(TABLE_COLUMNS):
            raise ValueError("expected a row for each of H to Pu and the columns " + ", ".join(TABLE_COLUMNS))
        features = np.array([[float(row[name]) for name in FEATURE_NAMES] for row in rows])
        if not np.isfinite(features).all():
            raise ValueError("a value is not finite")
        metal = np.array([{"0": False, "1": True}[row["is_metal"]] for row in rows])
        filled = tuple(tuple(row["filled"].split()) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise StoreError(f"{path} is damaged ({error}); restore it with `git checkout resources`") from None
    features.setflags(write=False)
    metal.setflags(write=False)
    return ElementTable(features, metal, filled)


def atomic_number(symbol: str) -> int:
    """Atomic number of an element, 1 to 94; raises UnsupportedElementError beyond H to Pu."""
    try:
        return _NUMBER[symbol]
    except KeyError:
        raise UnsupportedElementError(
            f"{symbol!r} is not an element from H to Pu; only those are in the element table"
        ) from None


def standard_order(amounts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """(element, atoms) in one order however the formula was written: pymatgen's, by electronegativity, then by symbol."""
    place = FEATURE_NAMES.index("electronegativity_pauling")
    listed = sorted(amounts)
    electronegativity = element_features([symbol for symbol, _ in listed])[:, place]
    return tuple(listed[i] for i in np.argsort(electronegativity, kind="stable"))


def cell_species(amounts: Iterable[tuple[str, int]], z: int) -> tuple[str, ...]:
    """Atoms of z formula units, grouped by element in the standard order: the rows of maps that know no label.

    The papers' networks see the order of their rows; a formula written in another order must not change its maps.
    """
    return tuple(symbol for symbol, n in standard_order(amounts) for _ in range(z * n))


def composition_key(species: Sequence[str]) -> str:
    """One text for a reduced composition, such as `Cl1 Na1`: what a seed depends on, not on id, order or cell."""
    counts = Counter(species)
    units = gcd(*counts.values())
    return " ".join(f"{symbol}{counts[symbol] // units}" for symbol in sorted(counts))


def covalent_radius_ang(symbol: str) -> float:
    """Covalent radius, Å (Cordero et al., Dalton Trans. 2832, 2008; for Mn, Fe and Co the high-spin one)."""
    return float(element_features([symbol])[0, FEATURE_NAMES.index("covalent_radius_ang")])


def is_metal(symbol: str) -> bool:
    """Whether an element counts as a metal where metal-metal pairs never bond (contact maps of AlphaCrystal).

    Metalloids (B, Si, Ge, As, Sb, Te, Po) are not metals here, as in pymatgen.
    """
    return bool(element_table().metal[atomic_number(symbol) - 1])


def feature_names() -> tuple[str, ...]:
    """Names of the 11 features, with units, in the order of the columns of `element_features`."""
    return FEATURE_NAMES


def element_features(symbols: Sequence[str]) -> np.ndarray:
    """Raw features of atoms.

    Returns (n, 11), float64, units as in the names; raises UnsupportedElementError beyond H to Pu.
    """
    rows = np.array([atomic_number(symbol) - 1 for symbol in symbols], dtype=int)
    return element_table().features[rows]


def scaled_element_features(symbols: Sequence[str]) -> np.ndarray:
    """Features of atoms, each with mean 0 and standard deviation 1 over the 94 elements of the table.

    Returns (n, 11), float64, no unit; raises UnsupportedElementError beyond H to Pu.
    """
    table = element_table().features
    return (element_features(symbols) - table.mean(axis=0)) / table.std(axis=0)
