"""Builds the element table from mendeleev and pymatgen; run when their data change, never in a prediction.

The sources of the columns and the rule for missing values are in `resources/tables/README.md`.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path

from mapcsp.elements import FEATURE_NAMES, SYMBOLS, TABLE_COLUMNS
from mapcsp.store import write_text

# A noble gas is monatomic in its normal state, so the heat of formation of its gaseous atom is zero by
# definition.
NOBLE_GASES = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
DIGITS = {
    "ionization_energy_ev": 5,
    "covalent_radius_ang": 2,
    "heat_of_formation_kj_per_mol": 3,
    "dipole_polarizability_bohr3": 4,
    "average_ionic_radius_ang": 4,
    "electronegativity_pauling": 4,
}
Values = dict[str, float | None]


def build_element_table(output: Path) -> None:
    """Write the table of 11 features of H to Pu as CSV, the same bytes for the same package versions."""
    from pymatgen.core import Element

    columns = _source_columns()
    neighbours = {symbol: _neighbours(symbol) for symbol in SYMBOLS}
    filled = {name: fill_missing(columns[name], neighbours) for name in FEATURE_NAMES}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    for symbol in SYMBOLS:
        values = [_format(name, filled[name][symbol]) for name in FEATURE_NAMES]
        missing = " ".join(name for name in FEATURE_NAMES if columns[name][symbol] is None)
        writer.writerow([symbol, *values, int(Element(symbol).is_metal), missing])
    write_text(output, text.getvalue())


def fill_missing(values: Values, neighbours: dict[str, tuple[str, ...]]) -> dict[str, float]:
    """Give each missing value the mean of those of its neighbours in the periodic table that have one.

    Values that a round gave serve only the next round, so that the order of the elements does not matter.
    Raises ValueError if an element cannot be reached.
    """
    known = {symbol: value for symbol, value in values.items() if value is not None}
    while len(known) < len(values):
        found = {}
        for symbol in values.keys() - known.keys():
            around = [known[n] for n in neighbours[symbol] if n in known]
            if around:
                found[symbol] = sum(around) / len(around)
        if not found:
            raise ValueError(f"no neighbour has a value for {sorted(values.keys() - known.keys())}")
        known |= found
    return known


def _neighbours(symbol: str) -> tuple[str, ...]:
    """Elements before and after in the row, and above and below in the group or within the f block."""
    from pymatgen.core import Element

    def block(element: Element) -> str:
        return "f" if element.is_lanthanoid or element.is_actinoid else "main"

    centre = Element(symbol)
    beside = [
        Element(SYMBOLS[z - 1])
        for z in (centre.Z - 1, centre.Z + 1)
        if 1 <= z <= len(SYMBOLS) and Element(SYMBOLS[z - 1]).row == centre.row
    ]
    if block(centre) == "f":
        column = [Element(SYMBOLS[z - 1]) for z in (centre.Z - 32, centre.Z + 32) if 1 <= z <= len(SYMBOLS)]
        column = [e for e in column if block(e) == "f"]
    else:
        same = sorted(
            (e for e in map(Element, SYMBOLS) if e.group == centre.group and block(e) == "main"),
            key=lambda e: e.row,
        )
        place = same.index(centre)
        column = same[max(place - 1, 0) : place] + same[place + 1 : place + 2]
    return tuple(e.symbol for e in (*beside, *column))


def _source_columns() -> dict[str, Values]:
    """Read the features from their sources; None where the source has no value."""
    from mendeleev.econf import ElectronicConfiguration
    from mendeleev.fetch import fetch_ionization_energies, fetch_table
    from pymatgen.core import Element

    elements = fetch_table("elements").set_index("symbol")
    ionization_ev = fetch_ionization_energies(degree=1)["IE1"]
    with warnings.catch_warnings():
        # pymatgen warns for each element without an electronegativity; `fill_missing` deals with those.
        warnings.simplefilter("ignore")
        pauling = {symbol: float(Element(symbol).X) for symbol in SYMBOLS}

    def mendeleev(symbol: str, column: str) -> float | None:
        value = float(elements.at[symbol, column])
        return None if math.isnan(value) else value

    def unpaired_electrons(symbol: str) -> float:
        return ElectronicConfiguration(elements.at[symbol, "electronic_configuration"]).unpaired_electrons()

    def heat_of_formation(symbol: str) -> float | None:
        return 0.0 if symbol in NOBLE_GASES else mendeleev(symbol, "heat_of_formation")

    sources: dict[str, Callable[[str], float | None]] = {
        "mendeleev_number": lambda s: mendeleev(s, "mendeleev_number"),
        "unpaired_electrons": unpaired_electrons,
        "ionization_energy_ev": lambda s: float(ionization_ev[Element(s).Z]),
        "covalent_radius_ang": lambda s: elements.at[s, "covalent_radius_cordero"] / 100,
        "heat_of_formation_kj_per_mol": heat_of_formation,
        "dipole_polarizability_bohr3": lambda s: mendeleev(s, "dipole_polarizability"),
        # pymatgen gives 0 where it has no radius.
        "average_ionic_radius_ang": lambda s: float(Element(s).average_ionic_radius) or None,
        "group": lambda s: Element(s).group,
        "row": lambda s: Element(s).row,
        "electronegativity_pauling": lambda s: None if math.isnan(pauling[s]) else pauling[s],
        "atomic_number": lambda s: Element(s).Z,
    }
    return {name: {symbol: sources[name](symbol) for symbol in SYMBOLS} for name in FEATURE_NAMES}


def _format(name: str, value: float) -> str:
    return str(int(value)) if name not in DIGITS else repr(round(float(value), DIGITS[name]))
