"""Crystals of every other format: what ASE reads, frame by frame, where it does not guess.

ASE takes some files for what they are not: the atoms that symmetry would repeat for all atoms, numbers of types for
elements. Those are refused here, or said.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.structure_files.poscar import NO_ELEMENTS, not_honoured
from mapcsp.structure_files.record import ReadCrystal, UnreadableError, sound_crystal

if TYPE_CHECKING:
    from ase import Atoms

# Formats that are periodic by definition, which ASE does not set.
ALWAYS_PERIODIC = {"eon"}
# Warnings that say nothing of the crystal: programs that ASE looks for, and its plans for its own code.
HARMLESS = re.compile("CASTEP|plugin|deprecated|will be removed", re.IGNORECASE)
GUESSED_ELEMENTS = {
    "gromacs": "the names of its atoms",
    "gromos": "the names of its atoms",
    "dlp4": "the names of its atoms",
    "dlp-history": "the names of its atoms",
}


def read_with_ase(path: Path, text: str, elements: Sequence[str] = ()) -> list[ReadCrystal]:
    """One record for each frame of a file; raises UnreadableError if ASE knows no such format or reads no frame.

    text: of the file. elements: of the types of a LAMMPS file that names none.
    """
    kind = _kind(path, text)
    if (check := _SYMMETRY.get(kind)) is not None and (stated := check(text)):
        raise UnreadableError(f"it states {stated}, by which its atoms are not expanded here; give a CIF")
    options, cautions = _options(kind, text, elements)
    found: list[ReadCrystal] = []
    for frame in _frames(path, kind, options):
        if isinstance(frame, str):
            found.append(ReadCrystal("", None, frame if not found else f"{frame}; nothing after it is read"))
            continue
        atoms, said = frame
        try:
            crystal, notes = _crystal(atoms, kind)
            found.append(ReadCrystal("", crystal, cautions=(*cautions, *notes, *said)))
        except UnreadableError as error:
            found.append(ReadCrystal("", None, str(error)))
    if not found:
        raise UnreadableError("no atoms")
    return found


def _kind(path: Path, text: str) -> str:
    """ASE's name of a file's format; raises UnreadableError if it knows none."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    # Its endings, .lmp and .data, say nothing to ASE, or something else.
    if re.search(r"^\s*\d+\s+atom types\s*$", text, re.MULTILINE):
        return "lammps-data"
    try:
        kind = filetype(str(path))
    except (UnknownFileTypeError, StopIteration, UnicodeDecodeError):
        kind = ""
    if kind not in ioformats or not ioformats[kind].can_read:
        raise UnreadableError("its format is not known")
    return str(kind)


def _frames(path: Path, kind: str, options: dict[str, Any]) -> Iterator[tuple[Atoms, tuple[str, ...]] | str]:
    """Each frame with the library's warnings of it; a text for the first that cannot be read, the last one."""
    from ase.io import iread

    frames = iread(str(path), index=":", format=kind, **options)
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                atoms = next(frames)
            except StopIteration:
                return
            except KeyError as error:
                # ASE looks symbols up in a table of elements.
                yield f"cannot be read as {kind}: {error} is no element, or a field that is missing"
                return
            except Exception as error:
                # ASE's readers raise whatever their parsing meets.
                detail = " ".join(str(error).split())[:200]
                yield f"cannot be read as {kind} ({type(error).__name__}{': ' if detail else ''}{detail})"
                return
        said = [" ".join(str(w.message).split())[:200] for w in caught if not _is_harmless(w)]
        yield atoms, tuple(dict.fromkeys(f"{kind}: {message}" for message in said))


def _is_harmless(warning: warnings.WarningMessage) -> bool:
    about_code = issubclass(
        warning.category, DeprecationWarning | PendingDeprecationWarning | ResourceWarning
    )
    return about_code or bool(HARMLESS.search(str(warning.message)))


def _crystal(atoms: Atoms, kind: str) -> tuple[Any, list[str]]:
    if kind in ALWAYS_PERIODIC:
        atoms.pbc = True
    if np.linalg.matrix_rank(np.array(atoms.cell)) < 3:
        raise UnreadableError("no cell: a crystal has three lattice vectors")
    if not all(atoms.pbc):
        raise UnreadableError(f"periodic in {int(sum(atoms.pbc))} of 3 directions, which is no crystal")
    # ASE writes the positions of such a file in axes of its own, eOn in those that lengths and angles define.
    if kind == "eon" and np.abs(atoms.cell.angles() - 90).max() > 0.01:
        raise UnreadableError(
            "it gives the cell by lengths and angles, which leave the axes of its positions open; give lattice vectors, "
            "as in a POSCAR"
        )
    species = atoms.get_chemical_symbols()
    for i, symbol in enumerate(species):
        if symbol not in SYMBOLS:
            raise UnreadableError(f"atom {i + 1} is {symbol!r}, no element from H to Pu")
    occupancies = np.array(atoms.arrays.get("occupancy", np.ones(len(species))), dtype=float)
    if atoms.info.get("occupancy") or (np.abs(occupancies - 1) > 0.005).any():
        raise UnreadableError("the file has partial occupancies: a disordered crystal")
    fixed = {
        int(i) for c in atoms.constraints for i in np.atleast_1d(getattr(c, "index", range(len(species))))
    }
    notes = [not_honoured("the file's constraint", len(fixed), len(species))] if fixed else []
    frac = np.array(atoms.get_positions()) @ np.linalg.inv(np.array(atoms.cell))
    return sound_crystal(np.array(atoms.cell), species, frac), notes


def _options(kind: str, text: str, elements: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What ASE must be told, and what is to be said of its choice of elements."""
    if kind in GUESSED_ELEMENTS:
        return {}, [f"the elements are taken from {GUESSED_ELEMENTS[kind]}"]
    if kind == "lammps-data":
        if elements:
            return {"Z_of_type": {i: SYMBOLS.index(e) + 1 for i, e in enumerate(elements, 1)}}, []
        if re.search(r"^\s*Masses\b", text, re.MULTILINE):
            return {}, ["the elements are taken from the masses"]
        raise UnreadableError(f"{NO_ELEMENTS}, only types; give them, such as --elements Ti,O")
    if kind.startswith("lammps-dump"):
        if elements:
            return {"specorder": list(elements)}, []
        if not re.search(r"^ITEM: ATOMS .*\belement\b", text, re.MULTILINE):
            raise UnreadableError(f"{NO_ELEMENTS}, only types; give them, such as --elements Ti,O")
    return {}, []


def _pdb_symmetry(text: str) -> str:
    found = re.search(r"^CRYST1.{49}(.{1,11})", text, re.MULTILINE)
    group = found[1].strip() if found else ""
    return f"the space group {group}" if group not in ("", "P 1", "P1", "1") else ""


def _shelx_symmetry(text: str) -> str:
    lattice = re.search(r"^LATT\s+(-?\d+)", text, re.MULTILINE | re.IGNORECASE)
    operation = re.search(r"^SYMM\s+(.*)", text, re.MULTILINE | re.IGNORECASE)
    if operation:
        return f"the operation {operation[1].strip()}"
    # SHELX takes a missing LATT for a centrosymmetric primitive lattice, the writers of crystals in P 1 always write -1.
    return f"LATT {lattice[1]}" if lattice and lattice[1] != "-1" else ""


def _crystal_symmetry(text: str) -> str:
    lines = text.splitlines()
    count = lines[4].split()[0] if len(lines) > 4 and lines[4].split() else "1"
    return f"{count} operations" if count != "1" else ""


def _word_symmetry(pattern: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        found = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
        return f"the space group {found[1]}" if found and found[1] != "1" else ""

    return check


_SYMMETRY: dict[str, Callable[[str], str]] = {
    "proteindatabank": _pdb_symmetry,
    "res": _shelx_symmetry,
    "crystal": _crystal_symmetry,
    "abinit-in": _word_symmetry(r"^\s*spgroup\d*\s+(\d+)"),
    "espresso-in": _word_symmetry(r"^\s*space_group\s*=\s*(\d+)"),
}
