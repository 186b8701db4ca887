"""Structure tables: parquet files in the schema of the shared data (also written by the Materials Project rule)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapcsp.errors import UserError
from mapcsp.records import Crystal

COLUMNS = ("material_id", "formula", "n_sites", "lattice", "species", "frac_coords")
OPTIONAL = ("formation_energy_per_atom", "energy_above_hull", "space_group")


@dataclass(frozen=True, eq=False)
class KnownCrystal:
    """One row of a structure table: a primitive crystal with its reduced formula and, where known, energies in eV/atom."""

    material_id: str
    formula: str
    crystal: Crystal
    formation_energy_ev_per_atom: float | None
    energy_above_hull_ev_per_atom: float | None


def read_structures(paths: Iterable[Path], max_atoms: int) -> list[KnownCrystal]:
    """Read crystals of at most `max_atoms` atoms, in file order; raises UserError for a file that does not fit."""
    import pyarrow
    import pyarrow.parquet as pq

    known: list[KnownCrystal] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such structure table; name a parquet file in the data schema")
        try:
            names = pq.read_schema(path).names
        except pyarrow.ArrowInvalid as error:
            raise UserError(
                f"{path} is not a parquet file ({str(error).rstrip('.')}); name one in the data schema"
            ) from None
        missing = [c for c in COLUMNS if c not in names]
        if missing:
            raise UserError(
                f"{path} lacks the columns {missing}; the data schema has {', '.join(COLUMNS)}; add them"
            )
        table = pq.read_table(path, columns=[*COLUMNS, *(c for c in OPTIONAL if c in names)]).to_pylist()
        for row in table:
            if row["n_sites"] > max_atoms:
                continue
            crystal = Crystal(
                np.array(row["lattice"], dtype=float),
                tuple(row["species"]),
                np.array(row["frac_coords"], dtype=float),
            )
            known.append(
                KnownCrystal(
                    row["material_id"],
                    row["formula"],
                    crystal,
                    row.get("formation_energy_per_atom"),
                    row.get("energy_above_hull"),
                )
            )
    return known
