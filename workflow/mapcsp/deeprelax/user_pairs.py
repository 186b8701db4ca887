"""Reads users' own pairs of unrelaxed and relaxed crystals: two folders of CIF files, or a parquet table."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from mapcsp.crystals import reduce_lattice
from mapcsp.deeprelax.pairs import SITE_TOLERANCE, RelaxPair, align_pair, centred_pair, reduced_crystal
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.structure_files.read import read_one_crystal

COLUMNS = (
    "id",
    "species",
    "lattice",
    "frac_coords",
    "relaxed_species",
    "relaxed_lattice",
    "relaxed_frac_coords",
)


def read_own_pairs(unrelaxed: Path, relaxed: Path | None = None) -> list[RelaxPair]:
    """Read pairs, sorted by id.

    unrelaxed, relaxed: two folders with CIF files of equal names; or one parquet table with the columns of COLUMNS
    (lattices as rows, Å; fractional coordinates; element symbols). Atoms that are listed in the same order correspond to
    each other, if that lays them near; otherwise they, the axes and the origin are matched. Raises UserError, naming the
    pair, for what cannot be used.
    """
    rows = _read_table(unrelaxed) if relaxed is None else _read_folders(unrelaxed, relaxed)
    if not rows:
        raise UserError(f"{unrelaxed}: no pairs found")
    return [_pair(name, initial, final) for name, initial, final in sorted(rows, key=lambda r: r[0])]


def _pair(name: str, initial: Crystal, final: Crystal) -> RelaxPair:
    from pymatgen.core import Composition

    formula = Composition("".join(initial.species)).reduced_formula
    found = None
    if initial.species == final.species:
        reduced, transform = reduce_lattice(initial.lattice_ang)
        inverse = np.linalg.inv(transform)
        start = Crystal(reduced, initial.species, initial.frac_coords @ inverse)
        end = Crystal(transform @ final.lattice_ang, final.species, final.frac_coords @ inverse)
        found = centred_pair(name, formula, start, end)
        # Two cells chosen differently may list their atoms alike, but these are then far apart.
        step = (found.frac_coords - found.initial.frac_coords) @ found.lattice_ang
        spacing = (final.volume_ang3 / final.n_atoms) ** (1 / 3)
        if np.sqrt((step**2).sum(1).mean()) > SITE_TOLERANCE * spacing:
            found = None
    found = found or align_pair(name, formula, reduced_crystal(initial), reduced_crystal(final))
    if found is None:
        raise UserError(
            f"pair {name}: the relaxed crystal cannot be laid over the unrelaxed one (other elements, or another cell); "
            "list the atoms of both in the same order, or leave the pair out"
        )
    return found


def _read_folders(unrelaxed: Path, relaxed: Path) -> list[tuple[str, Crystal, Crystal]]:
    for folder in (unrelaxed, relaxed):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give two folders with CIF files of equal names")
    names = {p.stem for p in unrelaxed.glob("*.cif")}
    others = {p.stem for p in relaxed.glob("*.cif")}
    if names != others:
        raise UserError(
            f"{unrelaxed} and {relaxed} do not hold the same names; without a partner: {sorted(names ^ others)[:5]}"
        )
    return [(n, _read_cif(unrelaxed / f"{n}.cif"), _read_cif(relaxed / f"{n}.cif")) for n in names]


def _read_cif(path: Path) -> Crystal:
    found, crystal = read_one_crystal(path)
    for caution in found.cautions:
        warnings.warn(f"{path}: {caution}", stacklevel=2)
    return crystal


def _read_table(path: Path) -> list[tuple[str, Crystal, Crystal]]:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path}: no such table; give a parquet file with the columns {', '.join(COLUMNS)}")
    missing = [c for c in COLUMNS if c not in pq.read_schema(path).names]
    if missing:
        raise UserError(f"{path} lacks the columns {missing}; expected {', '.join(COLUMNS)}")
    return [
        (
            str(row["id"]),
            _crystal(row["lattice"], row["species"], row["frac_coords"]),
            _crystal(row["relaxed_lattice"], row["relaxed_species"], row["relaxed_frac_coords"]),
        )
        for row in pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    ]


def _crystal(lattice: list, species: list, frac: list) -> Crystal:
    return Crystal(np.array(lattice, dtype=float), tuple(species), np.array(frac, dtype=float))
