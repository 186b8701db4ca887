"""The list of well-known compounds: crystals from the literature, written by Wyckoff positions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from pymatgen.core import Composition

from mapcsp.crystals import wrap
from mapcsp.errors import StoreError
from mapcsp.records import Crystal, Label
from mapcsp.resources import resource_path
from mapcsp.symmetry.geometry import encode_points, label_geometry
from mapcsp.symmetry.wyckoff import space_group

LIST_FILE = "tables/known_compounds.csv"
CELL_COLUMNS = ("a_ang", "b_ang", "c_ang", "alpha_deg", "beta_deg", "gamma_deg")


@dataclass(frozen=True, eq=False)
class KnownPhase:
    """One phase of a well-known compound.

    formula: as people write it. name: of the mineral or structure. ambient: stable at ambient conditions, or taken for it.
    crystal: its primitive cell. label: of the positions as listed, not canonical. density_g_per_cm3: measured, or as the
    source gives it: a check on the rest. source: of cell and coordinates.
    """

    formula: str
    name: str
    ambient: bool
    crystal: Crystal
    label: Label
    density_g_per_cm3: float
    source: str

    @property
    def z(self) -> int:
        """Formula units, reduced, in the primitive cell."""
        counts = [self.crystal.species.count(e) for e in set(self.crystal.species)]
        return int(np.gcd.reduce(counts))


@dataclass(frozen=True, eq=False)
class KnownCompound:
    """A formula and its listed phases, the ambient one first."""

    formula: str
    phases: tuple[KnownPhase, ...]

    @property
    def ambient(self) -> KnownPhase:
        """The phase that a prediction from the formula alone should put first."""
        return self.phases[0]


def read_known_compounds(path: Path | None = None) -> list[KnownCompound]:
    """Read the list, by default the shipped one, in its order.

    Raises StoreError, naming the line, for a row that contradicts itself, and for a formula without exactly one ambient
    phase.
    """
    path = path or resource_path(LIST_FILE)
    phases: dict[str, list[KnownPhase]] = {}
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        for row in reader:
            try:
                phases.setdefault(row["formula"], []).append(_phase(row))
            except (KeyError, ValueError) as error:
                raise StoreError(
                    f"{path} line {reader.line_num}: {row['formula']}, {row['phase']}: {error}"
                ) from error
    for formula, listed in phases.items():
        if [p.ambient for p in listed] != [True] + [False] * (len(listed) - 1):
            raise StoreError(f"{path}: {formula}: expected its ambient phase first and no other one")
    return [KnownCompound(formula, tuple(listed)) for formula, listed in phases.items()]


def _phase(row: dict[str, str]) -> KnownPhase:
    number = int(row["space_group"])
    cell = np.array([float(row[column]) for column in CELL_COLUMNS])
    label, crystal = _build(number, cell, row["sites"].split(";"))
    if Composition("".join(crystal.species)).reduced_formula != Composition(row["formula"]).reduced_formula:
        raise ValueError(f"the sites give {Composition(''.join(crystal.species)).formula}")
    if row["ambient"] not in ("yes", "no"):
        raise ValueError(f"ambient is {row['ambient']!r}, expected yes or no")
    density = float(row["density_g_per_cm3"])
    return KnownPhase(
        row["formula"], row["phase"], row["ambient"] == "yes", crystal, label, density, row["source"]
    )


def _build(number: int, cell: np.ndarray, sites: Sequence[str]) -> tuple[Label, Crystal]:
    """The label and primitive crystal of sites such as `Si a 0.4697 0 2/3`: element, letter, any point of the orbit.

    Raises ValueError for a point that does not lie on its position.
    """
    group = space_group(number)
    species: list[str] = []
    letters: list[str] = []
    points: list[np.ndarray] = []
    for site in sites:
        element, letter, *coordinates = site.split()
        orbit = _orbit(number, np.array([float(Fraction(c)) for c in coordinates]))
        if len(orbit) != group.by_letter[letter].multiplicity:
            raise ValueError(
                f"{site.strip()!r}: the point has {len(orbit)} images in the primitive cell, "
                f"position {letter} has {group.by_letter[letter].multiplicity}"
            )
        species += [element] * len(orbit)
        letters += [letter] * len(orbit)
        points += orbit
    # Each orbit is found again on the position that its letter names, or this raises.
    label, free_coords = encode_points(number, tuple(species), tuple(letters), np.array(points))
    return label, label_geometry(label).decode(cell, free_coords)


def _orbit(number: int, point: np.ndarray) -> list[np.ndarray]:
    """Images of a point in the primitive cell, conventional basis."""
    group = space_group(number)
    images: list[np.ndarray] = []
    for image in wrap(group.rotations @ point + group.translations):
        if not any(group.is_lattice_vector(image - other, 1e-4) for other in images):
            images.append(image)
    return images
