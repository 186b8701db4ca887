"""Reads users' structure files of any format: one record for each crystal in them, failures included."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.structure_files.ase_files import read_with_ase
from mapcsp.structure_files.cif import read_cif
from mapcsp.structure_files.poscar import is_poscar, not_honoured, read_poscar
from mapcsp.structure_files.record import ReadCrystal, UnreadableError, element_symbol, sound_crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

_POSCAR_NAME = re.compile(
    r".*(poscar|contcar).*|.*\.vasp|(chgcar|chg|locpot|aeccar|parchg|elfcar).*", re.IGNORECASE
)
# How compressed files begin.
_PACKED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\0": lzma.decompress}
EXPECTED = "give an ordered crystal as CIF, POSCAR or another file with a cell"


def read_crystals(path: Path, elements: Sequence[str] = ()) -> list[ReadCrystal]:
    """Every crystal of a file, at least one record: a crystal or the reason why it cannot be told.

    elements: symbols for a POSCAR or LAMMPS file that names none, in the order of its counts or types. The second crystal
    of a file is named `<path>#2`. Raises UserError if there is no such file, and for `elements` that are none.
    """
    if unknown := [symbol for symbol in elements if symbol not in SYMBOLS]:
        raise UserError(f"elements: {unknown[0]!r} is no element from H to Pu; give symbols, such as Ti,O")
    if not path.is_file():
        raise UserError(f"{path} is not a file; give a structure file, such as CIF or POSCAR")
    try:
        found = _read(path, elements)
    except UnreadableError as error:
        found = [ReadCrystal("", None, str(error))]
    several = len(found) > 1
    return [replace(c, name=f"{path}#{i}" if several else str(path)) for i, c in enumerate(found, 1)]


def read_one_crystal(path: Path, elements: Sequence[str] = ()) -> tuple[ReadCrystal, Crystal]:
    """The only crystal of a file; raises UserError, naming the file, where there is none or there are several."""
    found = read_crystals(path, elements)
    if len(found) > 1:
        raise UserError(
            f"{path} holds {len(found)} crystals, expected one; write the one that is meant to a file"
        )
    if found[0].crystal is None:
        raise UserError(f"{path} cannot be read as a crystal ({found[0].reason}); {EXPECTED}")
    return found[0], found[0].crystal


def from_pymatgen(structure: Structure) -> ReadCrystal:
    """A pymatgen structure as a record of the same kind, its name that of its formula."""
    name = str(structure.composition.reduced_formula)
    try:
        return replace(_from_pymatgen(structure), name=name)
    except UnreadableError as error:
        return ReadCrystal(name, None, str(error))


def _read(path: Path, elements: Sequence[str]) -> list[ReadCrystal]:
    text = _text(path)
    name = re.sub(r"\.(gz|bz2|xz)$", "", path.name, flags=re.IGNORECASE)
    if name.lower().endswith((".cif", ".mcif")) or re.match(
        r"(\s*#.*\n|\s*\n)*\s*data_", text, re.IGNORECASE
    ):
        return read_cif(text)
    # Which of both a file `x.vasp` is, its content says; OUTCAR and the like are ASE's.
    if _POSCAR_NAME.fullmatch(name):
        return [read_poscar(text, elements)]
    if name.lower().endswith((".json", ".jsonl", ".mson")) and (found := _from_json(text)):
        return found
    try:
        return read_with_ase(path, text, elements)
    except UnreadableError:
        if not is_poscar(text):
            raise
        return [read_poscar(text, elements)]


def _text(path: Path) -> str:
    """Text of a file, unpacked whatever its name, its lines ended as on any machine; raises UnreadableError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"the file cannot be opened ({error.strerror or error})") from None
    unpack = next((f for mark, f in _PACKED.items() if raw.startswith(mark)), None)
    try:
        raw = raw if unpack is None else unpack(raw)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise UnreadableError(f"the compressed file is damaged ({error})") from None
    # Windows calls UTF-16 "Unicode".
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        # Names of authors in older files; everything that is read here is ASCII.
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _from_json(text: str) -> list[ReadCrystal]:
    """Structures that pymatgen wrote, in one document or one a line; empty if there is none, as in a file of ASE's."""
    try:
        content = [json.loads(text)]
    except ValueError as error:
        try:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise UnreadableError(f"not JSON ({error})") from None
    entries = [entry for document in content for entry in _entries(document)]
    return [_from_entry(entry) for entry in entries] if any(entries) else []


def _entries(content: object) -> list[dict[str, Any] | None]:
    """Dictionaries of structures, however deep in lists and documents; None for an entry of a list that holds none."""
    if isinstance(content, list):
        found = [_entries(entry) for entry in content]
        return [e for several in found for e in several or [None]] if any(any(f) for f in found) else []
    if not isinstance(content, dict):
        return []
    if {"lattice", "sites"} <= set(content):
        return [content]
    # The documents of a database hold other structures beside the one that they are about.
    if isinstance(content.get("structure"), dict):
        return _entries(content["structure"])
    return [entry for value in content.values() for entry in _entries(value)]


def _from_entry(entry: dict[str, Any] | None) -> ReadCrystal:
    from pymatgen.core import Structure

    if entry is None:
        return ReadCrystal("", None, "an entry without a structure")
    try:
        return _from_pymatgen(Structure.from_dict(entry))
    except (UnreadableError, ValueError, KeyError, TypeError) as error:
        return ReadCrystal("", None, str(error))


def _from_pymatgen(structure: Structure) -> ReadCrystal:
    cautions: list[str] = []
    species = []
    for i, site in enumerate(structure):
        if not site.is_ordered:
            raise UnreadableError(
                f"site {i + 1} ({site.species_string}) is shared: a disordered crystal has partial occupancies"
            )
        element, caution = element_symbol(site.specie.symbol)
        cautions += [caution] if caution else []
        species.append(element)
    flags: Any = structure.site_properties.get("selective_dynamics")
    if flags is not None and (fixed := sum(not all(f) for f in flags if f is not None)):
        cautions.append(not_honoured("selective dynamics", fixed, len(species)))
    crystal = sound_crystal(np.array(structure.lattice.matrix), species, np.array(structure.frac_coords))
    return ReadCrystal("", crystal, cautions=tuple(dict.fromkeys(cautions)))
