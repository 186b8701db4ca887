"""Twenty well-known crystals, for a benchmark that needs no data: those of the shipped formula list and twelve more.

`python tests/well_known.py` writes resources/benchmarks/well_known.parquet anew. The twelve have lattice constants as
tabulated in R. W. G. Wyckoff, Crystal Structures, 2nd ed. (Interscience, 1963-1966), or close to them.
"""

from __future__ import annotations

from pathlib import Path

from known_structures import KNOWN, primitive
from mapcsp.crystals import to_structure
from mapcsp.records import Crystal
from mapcsp.store import write_parquet
from mapcsp.symmetry.detect import find_space_group
from pymatgen.core import Lattice

TABLE = Path(__file__).parents[1] / "resources" / "benchmarks" / "well_known.parquet"
COLUMNS = ("material_id", "formula", "n_sites", "space_group", "lattice", "species", "frac_coords")
THIRD, TWO_THIRDS = 1 / 3, 2 / 3

MORE = {
    "CsCl": ("Pm-3m", Lattice.cubic(4.123), {"Cs": [[0, 0, 0]], "Cl": [[0.5, 0.5, 0.5]]}),
    "zincite": (
        "P6_3mc",
        Lattice.hexagonal(3.250, 5.207),
        {"Zn": [[THIRD, TWO_THIRDS, 0]], "O": [[THIRD, TWO_THIRDS, 0.382]]},
    ),
    "cuprite": ("Pn-3m", Lattice.cubic(4.270), {"Cu": [[0.25, 0.25, 0.25]], "O": [[0, 0, 0]]}),
    "spinel": (
        "Fd-3m",
        Lattice.cubic(8.083),
        {"Mg": [[0, 0, 0]], "Al": [[0.625, 0.625, 0.625]], "O": [[0.3874, 0.3874, 0.3874]]},
    ),
    "corundum": (
        "R-3c",
        Lattice.hexagonal(4.759, 12.991),
        {"Al": [[0, 0, 0.3523]], "O": [[0.3064, 0, 0.25]]},
    ),
    "anatase": ("I4_1/amd", Lattice.tetragonal(3.785, 9.514), {"Ti": [[0, 0, 0]], "O": [[0, 0, 0.2081]]}),
    "pyrite": ("Pa-3", Lattice.cubic(5.418), {"Fe": [[0, 0, 0]], "S": [[0.385, 0.385, 0.385]]}),
    "NiAs": (
        "P6_3/mmc",
        Lattice.hexagonal(3.602, 5.009),
        {"Ni": [[0, 0, 0]], "As": [[THIRD, TWO_THIRDS, 0.25]]},
    ),
    "CdI2": (
        "P-3m1",
        Lattice.hexagonal(4.24, 6.84),
        {"Cd": [[0, 0, 0]], "I": [[THIRD, TWO_THIRDS, 0.25]]},
    ),
    "molybdenite": (
        "P6_3/mmc",
        Lattice.hexagonal(3.160, 12.295),
        {"Mo": [[THIRD, TWO_THIRDS, 0.25]], "S": [[THIRD, TWO_THIRDS, 0.621]]},
    ),
    "chalcopyrite": (
        "I-42d",
        Lattice.tetragonal(5.289, 10.423),
        {"Cu": [[0, 0, 0]], "Fe": [[0, 0, 0.5]], "S": [[0.2574, 0.25, 0.125]]},
    ),
    "K2NiF4": (
        "I4/mmm",
        Lattice.tetragonal(4.006, 13.076),
        {"K": [[0, 0, 0.352]], "Ni": [[0, 0, 0]], "F": [[0, 0.5, 0], [0, 0, 0.151]]},
    ),
}


def well_known() -> dict[str, Crystal]:
    """All twenty, by name."""
    return {name: make() for name, make in KNOWN.items()} | {
        name: primitive(group, lattice, sites) for name, (group, lattice, sites) in MORE.items()
    }


def table_rows() -> list[list]:
    """The rows of the table, coordinates rounded as in the other tables."""
    rows = []
    for name, crystal in well_known().items():
        structure = to_structure(crystal)
        rows.append(
            [
                name,
                structure.composition.reduced_formula,
                len(structure),
                find_space_group(crystal),
                crystal.lattice_ang.round(6).tolist(),
                list(crystal.species),
                crystal.frac_coords.round(6).tolist(),
            ]
        )
    return rows


if __name__ == "__main__":
    write_parquet(TABLE, COLUMNS, table_rows())
