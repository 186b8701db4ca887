"""Energies above the hull of known phases: a table that the user names, or the Materials Project's, kept in files.

No phases ship with mapcsp: without a table or a key, energies above the hull are absent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mapcsp.errors import UserError
from mapcsp.provenance import file_sha256
from mapcsp.store import read_json, write_json

KEY_VARIABLE = "MP_API_KEY"
TABLE_COLUMNS = ("formula", "formation_energy_per_atom")


@dataclass(frozen=True)
class Phase:
    """One known phase: any formula of its composition, and its formation energy."""

    formula: str
    formation_energy_ev_per_atom: float


class PhaseSource(Protocol):
    """Where known phases come from. name: for the record of a run, such as `phases.csv 1f2e…`."""

    name: str

    def phases(self, elements: frozenset[str]) -> Sequence[Phase]:
        """All known phases of these elements and of any part of them."""
        ...


class PhaseTable:
    """Phases of a parquet or CSV file with the columns TABLE_COLUMNS, such as a structure table of the data schema."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises UserError if it is missing, lacks a column, or has an entry that is no phase."""
        import pandas as pd
        from pymatgen.core import Composition

        if not path.exists():
            raise UserError(f"relax.hull_table: {path} does not exist")
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        missing = [name for name in TABLE_COLUMNS if name not in table.columns]
        if missing:
            raise UserError(f"relax.hull_table: {path} has no column {', '.join(missing)}")
        self.name = f"{path.name} {file_sha256(path)[:12]}"
        self._by_elements: dict[frozenset[str], list[Phase]] = {}
        for row, (formula, energy) in enumerate(zip(table[TABLE_COLUMNS[0]], table[TABLE_COLUMNS[1]]), 2):
            try:
                elements = frozenset(e.symbol for e in Composition(str(formula)).elements)
            except ValueError:
                raise UserError(f"relax.hull_table: {path} row {row}: {formula!r} is not a formula") from None
            if not isinstance(energy, (int, float)) or not np.isfinite(energy):
                raise UserError(f"relax.hull_table: {path} row {row}: {energy!r} is not an energy in eV/atom")
            self._by_elements.setdefault(elements, []).append(Phase(str(formula), float(energy)))

    def phases(self, elements: frozenset[str]) -> list[Phase]:
        """All phases of the table that hold no other elements."""
        return [phase for held, some in self._by_elements.items() if held <= elements for phase in some]


class MaterialsProject:
    """The Materials Project's phases (PBE and PBE+U, MP2020 corrections), one file a set of elements in `folder`.

    What is in the folder is never fetched again, so that later runs need neither key nor network. Data: CC BY 4.0, Jain et
    al., APL Materials 1, 011002 (2013).
    """

    name = "Materials Project"

    def __init__(self, folder: Path, client: Callable[[], Any] | None = None) -> None:
        """client: opens the connection, `mp_api.client.MPRester` if not given (key from the environment)."""
        self._folder = folder
        self._client = client or _open_client

    def phases(self, elements: frozenset[str]) -> list[Phase]:
        """Read the phases of some elements, from the folder or from the Materials Project.

        Raises whatever mp-api raises if it must fetch and cannot.
        """
        system = "-".join(sorted(elements))
        path = self._folder / f"{system}.json"
        if not path.exists():
            found = sorted(self._fetch(elements), key=lambda p: (p.formula, p.formation_energy_ev_per_atom))
            write_json(path, {"phases": [[p.formula, p.formation_energy_ev_per_atom] for p in found]})
        return [Phase(formula, float(energy)) for formula, energy in read_json(path)["phases"]]

    def _fetch(self, elements: frozenset[str]) -> Iterable[Phase]:
        with self._client() as client:
            found = client.materials.thermo.search(
                chemsys=chemical_systems(elements),
                thermo_types=["GGA_GGA+U"],
                fields=["formula_pretty", "formation_energy_per_atom"],
            )
            for entry in found:
                if entry.formation_energy_per_atom is not None:
                    yield Phase(entry.formula_pretty, float(entry.formation_energy_per_atom))


def choose_phases(hull_table: str, folder: Path | None) -> tuple[PhaseSource | None, str]:
    """The phases of a run, and a line that says which they are or why there are none.

    hull_table: `relax.hull_table`. folder: where phases of the Materials Project are kept; None for no such folder.
    Raises UserError for a table that cannot be read.
    """
    if hull_table:
        table = PhaseTable(Path(hull_table))
        return table, f"energies above the hull of {table.name}"
    if folder is None or not os.environ.get(KEY_VARIABLE):
        return None, f"no energies above the hull: relax.hull_table is empty and {KEY_VARIABLE} is not set"
    if find_spec("mp_api") is None:
        return (
            None,
            f"no energies above the hull: {KEY_VARIABLE} is set but mp-api is missing; pip install 'mapcsp[mp]'",
        )
    return MaterialsProject(folder), "energies above the hull of the Materials Project"


def energies_above_hull(
    source: PhaseSource, formula: str, formation_energies_ev_per_atom: Sequence[float | None]
) -> list[float | None]:
    """Energy above the hull of the known phases of several crystals of one formula, eV/atom; negative below it.

    None where a formation energy is None. Elements are at zero, whatever the source says of them.
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    composition = Composition(formula)
    elements = frozenset(e.symbol for e in composition.elements)
    compounds = [p for p in source.phases(elements) if len(Composition(p.formula).elements) > 1]
    entries = [
        PDEntry(c := Composition(p.formula), p.formation_energy_ev_per_atom * c.num_atoms) for p in compounds
    ]
    hull = PhaseDiagram([*entries, *(PDEntry(Composition(e), 0.0) for e in sorted(elements))])
    lowest = hull.get_hull_energy_per_atom(composition)
    return [None if energy is None else float(energy - lowest) for energy in formation_energies_ev_per_atom]


@lru_cache(maxsize=1024)
def chemical_systems(elements: frozenset[str]) -> list[str]:
    """Every set of some of these elements, as the Materials Project writes them: `Na`, `Cl-Na`, …"""
    names = sorted(elements)
    picked = [[n for i, n in enumerate(names) if mask >> i & 1] for mask in range(1, 2 ** len(names))]
    return ["-".join(some) for some in picked]


def _open_client() -> Any:
    from mp_api.client import MPRester

    return MPRester(os.environ[KEY_VARIABLE])
