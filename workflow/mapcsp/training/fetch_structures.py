"""Fetches structures from the Materials Project into a structure table, in parts that a killed fetch keeps.

Data: CC BY 4.0, Jain et al., APL Materials 1, 011002 (2013).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mapcsp.errors import UserError
from mapcsp.store import atomic_path

KEY_VARIABLE = "MP_API_KEY"
FIELDS = ("material_id", "structure", "formation_energy_per_atom", "energy_above_hull")
SYMPREC_ANG = 0.1
_DECIMALS = 6

Progress = Callable[[int], object]


def fetch_structures(
    output: Path,
    max_atoms: int = 24,
    max_elements: int = 4,
    max_energy_above_hull_ev_per_atom: float = 0.1,
    crystals_per_part: int = 500,
    client: Callable[[], Any] | None = None,
    progress: Progress | None = None,
) -> int:
    """Write the Materials Project's ordered crystals of 1 to `max_atoms` atoms a primitive cell as a structure table.

    Parts are kept in `<output>.parts` until all are there; a repeated call fetches only those that are missing.
    client: opens the connection, `mp_api.client.MPRester` if not given (key from the environment variable MP_API_KEY).
    progress: called with the number of crystals of each part. Returns the number of crystals written.
    Raises UserError without mp-api or a key, or if nothing fits.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts_dir = output.with_name(f"{output.name}.parts")
    with (client or _open_client)() as connection:
        search = connection.materials.summary.search
        found = search(
            num_elements=(1, max_elements),
            energy_above_hull=(0.0, max_energy_above_hull_ev_per_atom),
            deprecated=False,
            fields=["material_id", "nsites"],
        )
        ids = sorted(str(d.material_id) for d in found if d.nsites <= max_atoms)
        if not ids:
            raise UserError("the Materials Project has no structure within these limits; widen them")
        parts = []
        for first in range(0, len(ids), crystals_per_part):
            wanted = ids[first : first + crystals_per_part]
            part = parts_dir / f"{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:24]}.parquet"
            if not part.exists():
                rows = structure_rows(search(material_ids=wanted, fields=list(FIELDS)), max_atoms)
                with atomic_path(part) as temporary:
                    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), temporary)
            parts.append(part)
            if progress is not None:
                progress(len(wanted))
    table = pa.concat_tables([pq.read_table(part) for part in parts]).sort_by("material_id")
    with atomic_path(output) as temporary:
        pq.write_table(table, temporary)
    shutil.rmtree(parts_dir)
    return int(table.num_rows)


def structure_rows(documents: Iterable[Any], max_atoms: int) -> list[dict[str, Any]]:
    """Rows of a structure table from the Materials Project's documents; disordered structures are left out."""
    from mapcsp.crystals import from_structure
    from mapcsp.symmetry.detect import space_group_or_p1

    rows = []
    for document in documents:
        if not document.structure.is_ordered:
            continue
        primitive = document.structure.get_primitive_structure()
        if len(primitive) > max_atoms:
            continue
        crystal = from_structure(primitive)
        rows.append(
            {
                "material_id": str(document.material_id),
                "source": "materials-project",
                "formula": primitive.composition.reduced_formula,
                "cell_formula": primitive.composition.formula.replace(" ", ""),
                "n_sites": crystal.n_atoms,
                "space_group": space_group_or_p1(crystal, SYMPREC_ANG),
                "lattice": _rounded(crystal.lattice_ang),
                "species": list(crystal.species),
                "frac_coords": np.mod(_rounded(crystal.frac_coords), 1.0).tolist(),
                "formation_energy_per_atom": document.formation_energy_per_atom,
                "energy_above_hull": document.energy_above_hull,
                "year": None,
            }
        )
    return rows


def _rounded(values: np.ndarray) -> Sequence[Sequence[float]]:
    return np.round(values, _DECIMALS).tolist()


def _schema() -> Any:
    import pyarrow as pa

    matrix = pa.list_(pa.list_(pa.float64()))
    return pa.schema(
        [
            ("material_id", pa.string()),
            ("source", pa.string()),
            ("formula", pa.string()),
            ("cell_formula", pa.string()),
            ("n_sites", pa.int64()),
            ("space_group", pa.int64()),
            ("lattice", matrix),
            ("species", pa.list_(pa.string())),
            ("frac_coords", matrix),
            ("formation_energy_per_atom", pa.float64()),
            ("energy_above_hull", pa.float64()),
            ("year", pa.int64()),
        ]
    )


def _open_client() -> Any:
    try:
        from mp_api.client import MPRester
    except ImportError:
        raise UserError("fetch-structures needs the package mp-api; pip install 'mapcsp[mp]'") from None
    if not os.environ.get(KEY_VARIABLE):
        raise UserError(f"fetch-structures needs a Materials Project key in the variable {KEY_VARIABLE}")
    return MPRester(os.environ[KEY_VARIABLE])
