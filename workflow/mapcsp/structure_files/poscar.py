"""Crystals of POSCAR and CONTCAR files, by VASP's own rules.

Source: https://www.vasp.at/wiki/POSCAR. A file of VASP 4 has no line of elements: they must be given, unless the file names
them elsewhere, which is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.structure_files.record import (
    ISOTOPES,
    ReadCrystal,
    UnreadableError,
    element_symbol,
    sound_crystal,
)

NO_ELEMENTS = "no elements are named"


def is_poscar(text: str) -> bool:
    """Whether a text has the scale and the three lattice vectors of a POSCAR."""
    lines = text.splitlines()
    numbers = [_floats(line) for line in lines[1:5]]
    return len(numbers) == 4 and len(numbers[0]) in (1, 3) and all(len(n) == 3 for n in numbers[1:])


def read_poscar(text: str, elements: Sequence[str] = ()) -> ReadCrystal:
    """The crystal of a POSCAR; raises UnreadableError. elements: of a file that names none, in the order of its counts."""
    if not is_poscar(text):
        raise UnreadableError(
            "not a POSCAR: a scale and three lattice vectors of three numbers each are expected"
        )
    lines = [re.split(r"[!#]", line)[0] for line in text.splitlines()]
    scale = _scale(lines)
    lattice = np.array([_floats(line) for line in lines[2:5]]) * scale
    named: list[str] = []
    first = 5
    if len(lines) > 5 and not re.fullmatch(r"\s*\d+\b.*", lines[5]):
        # Potentials may stand behind the element, such as Ti_sv or O/8a3f.
        named = [re.split(r"[_/]", word)[0] for word in lines[5].split()]
        first = 6
    counts = _counts(lines, first)
    first += 1
    selective = first < len(lines) and lines[first].strip()[:1] in ("s", "S")
    first += selective
    mode = lines[first].strip()[:1].lower() if first < len(lines) else ""
    if mode not in ("d", "c", "k"):
        raise UnreadableError(f"line {first + 1} is neither `Direct` nor `Cartesian`")
    n = sum(counts)
    rows = [line.split() for line in lines[first + 1 : first + 1 + n]]
    coords = [_floats(" ".join(row[:3])) for row in rows]
    if len(rows) < n or any(len(c) != 3 for c in coords):
        raise UnreadableError(
            f"{n} atoms are counted, but not so many lines of coordinates follow line {first + 1}"
        )
    cautions: list[str] = []
    labels = [_label(row[6 if selective else 3 :]) for row in rows]
    species = _species(named, counts, labels, lines[0].split(), elements, cautions)
    frac = np.array(coords) if mode == "d" else np.array(coords) * scale @ np.linalg.pinv(lattice)
    fixed = sum(any(flag.strip(".").upper().startswith("F") for flag in row[3:6]) for row in rows)
    if selective and fixed:
        cautions.append(not_honoured("selective dynamics", fixed, n))
    return ReadCrystal("", sound_crystal(lattice, species, frac), cautions=tuple(dict.fromkeys(cautions)))


def not_honoured(what: str, n_fixed: int, n_atoms: int) -> str:
    """The caution of a file that holds atoms fixed."""
    return f"{what} is not honoured: the file fixes {n_fixed} of {n_atoms} atoms, a relaxation moves all"


def _floats(line: str) -> list[float]:
    """The numbers that a line begins with; Fortran may write 1.0D+00."""
    found = []
    for word in line.split():
        try:
            found.append(float(re.sub("[dD]", "e", word)))
        except ValueError:
            break
    return found[:3]


def _scale(lines: list[str]) -> np.ndarray:
    """The factor of each Cartesian axis; a single negative number is the volume of the cell in Å³."""
    factors = _floats(lines[1])
    volume = abs(np.linalg.det([_floats(line) for line in lines[2:5]]))
    if len(factors) == 1 and factors[0] < 0 < volume:
        factors = [(-factors[0] / volume) ** (1 / 3)]
    if not all(np.isfinite(factors)) or min(factors) <= 0:
        raise UnreadableError(f"the scale on line 2, {lines[1].strip()!r}, is not positive")
    return np.array(factors)


def _counts(lines: list[str], index: int) -> list[int]:
    words = lines[index].split() if index < len(lines) else []
    if not words or not all(word.isdigit() for word in words) or not sum(map(int, words)):
        raise UnreadableError(f"line {index + 1} does not count the atoms of each element")
    return [int(word) for word in words]


def _label(words: list[str]) -> str:
    """The element behind an atom's coordinates, which some programs write; empty if there is none."""
    found = re.fullmatch(r"([A-Z][a-z]?)[\d+-]*", words[0]) if len(words) == 1 else None
    return found[1] if found and found[1] in (*SYMBOLS, *ISOTOPES) else ""


def _species(
    named: list[str],
    counts: list[int],
    labels: list[str],
    comment: list[str],
    given: Sequence[str],
    cautions: list[str],
) -> list[str]:
    """The element of each atom, by what the file or the user names; nothing is guessed."""
    if given and named and list(given) != named:
        cautions.append(
            f"the file names {' '.join(named)}; the elements given for files that name none are not used"
        )
    if not named and not given and labels and all(labels):
        cautions.append("the elements are those behind the coordinates; the file has no line of elements")
        chosen, amounts = labels, [1] * len(labels)
    else:
        chosen, amounts = list(named or given), counts
        if not chosen and len(comment) == len(counts) and all(word in SYMBOLS for word in comment):
            cautions.append(
                f"the elements {' '.join(comment)} are those of the comment line; the file names no others"
            )
            chosen = comment
    if not chosen:
        raise UnreadableError(
            f"{NO_ELEMENTS} for its {len(counts)} counts of atoms; give them, such as --elements Ti,O"
        )
    if len(chosen) != len(amounts):
        raise UnreadableError(
            f"{len(chosen)} elements ({' '.join(chosen)}) for {len(amounts)} counts of atoms"
        )
    species = []
    for word, amount in zip(chosen, amounts):
        if word not in (*SYMBOLS, *ISOTOPES):
            raise UnreadableError(f"{word!r} is no element from H to Pu")
        element, caution = element_symbol(word)
        cautions += [caution] if caution else []
        species += [element] * amount
    for i, (label, element) in enumerate(zip(labels, species)):
        if label and ISOTOPES.get(label, label) != element:
            raise UnreadableError(f"atom {i + 1} is {label} behind its coordinates, {element} by the counts")
    return species
