"""The sites that a CIF lists, and their orbits under a setting's operations."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.structure_files.cif_block import CifBlock, to_number
from mapcsp.structure_files.cif_symmetry import Setting
from mapcsp.structure_files.record import COINCIDENT_ANG, ISOTOPES, UnreadableError, element_symbol

# Occupancies are refined: a site is full from here on.
FULL_OCCUPANCY = 0.995
# Rounding moves an atom on a special position by less; a larger step is said.
ROUNDING_ANG = 0.02
# Labels of groups of atoms, as in the database of the American Mineralogist: no tungsten, and more than one atom.
_GROUP_LABEL = re.compile(r"(WAT(?:ER)?|HOH|H2O|OH2|OH|H3O|NH4|NH3|CH3)(?![A-Z])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Site:
    """One listed site. frac: (3,). multiplicity: as the file states it, None if it does not."""

    label: str
    element: str
    frac: np.ndarray
    multiplicity: float | None


def read_sites(block: CifBlock, formula: dict[str, float] | None, cautions: list[str]) -> list[Site]:
    """The full sites of a block; raises UnreadableError, naming the site. formula: as stated, decides what labels mean."""
    columns = {name: v for name, v in block.columns.items() if name.startswith("_atom_site_")}
    axes = [columns.get(f"_atom_site_fract_{axis}") for axis in "xyz"]
    if None in axes:
        raise UnreadableError("fractional coordinates (_atom_site_fract_x, _y, _z) are missing")
    n = max(len(axis or []) for axis in axes)
    labels = columns.get("_atom_site_label") or columns.get("_atom_site_type_symbol")
    if labels is None or any(len(axis or []) != n for axis in (*axes, labels)):
        raise UnreadableError("each site needs a label and three coordinates")
    sites = []
    groups: set[tuple[str, str]] = set()
    for i, label in enumerate(labels):
        row = {name.removeprefix("_atom_site_"): v[i] for name, v in columns.items() if len(v) == n}
        if row.get("calc_flag", "").lower() == "dum":
            cautions.append(f"the dummy site {label} is left out")
            continue
        occupancy = _occupancy(row.get("occupancy", "1"), label, cautions)
        if occupancy == 0:
            cautions.append(f"the empty site {label} (occupancy 0) is left out")
            continue
        if occupancy < FULL_OCCUPANCY:
            raise UnreadableError(
                f"the site {label} is occupied to {occupancy:g}: a disordered crystal has partial occupancies"
            )
        if occupancy > 2 - FULL_OCCUPANCY:
            raise UnreadableError(f"the site {label} is occupied to {occupancy:g}, more than one atom")
        if row.get("disorder_group", ".") not in (".", "?", "", "0"):
            groups.add((row.get("disorder_assembly", "."), row["disorder_group"]))
        hydrogens = row.get("attached_hydrogens", "0")
        if hydrogens not in ("?", ".", "") and to_number(hydrogens, "attached hydrogens") > 0:
            raise UnreadableError(f"{hydrogens} hydrogens of the site {label} have no coordinates")
        frac = [to_number(row[f"fract_{axis}"], f"the coordinate {axis} of {label}") for axis in "xyz"]
        element = _element(row.get("type_symbol", "?"), label, formula, cautions)
        stated = row.get("symmetry_multiplicity", row.get("site_symmetry_multiplicity", "."))
        multiplicity = None if stated in ("?", ".", "") else to_number(stated, f"the multiplicity of {label}")
        sites.append(Site(label, element, np.array(frac), multiplicity))
    if not sites:
        raise UnreadableError("no atoms")
    if len({assembly for assembly, _ in groups}) < len(groups):
        raise UnreadableError("several groups of disordered atoms share a place; keep one of them")
    return sites


def _occupancy(text: str, label: str, cautions: list[str]) -> float:
    if text.strip() == "?":
        cautions.append(f"the occupancy of {label} is ?, read as 1")
        return 1.0
    occupancy = 1.0 if text.strip() in (".", "") else to_number(text, f"the occupancy of {label}")
    if FULL_OCCUPANCY <= occupancy < 0.9995:
        cautions.append(f"the site {label} is occupied to {occupancy:g}, read as 1")
    return occupancy


def _element(symbol: str, label: str, formula: dict[str, float] | None, cautions: list[str]) -> str:
    """The element of a site by its type symbol, which may have a charge, else by its label."""
    if symbol.strip() not in ("?", ".", ""):
        found = re.fullmatch(r"([A-Za-z]{1,2})(?:\d*\.?\d*[+-]?|[+-]\d*)", symbol.strip())
        if found is None or found[1].capitalize() not in (*SYMBOLS, *ISOTOPES):
            raise UnreadableError(f"the site {label}: {symbol!r} is no element from H to Pu")
        element, caution = element_symbol(found[1])
        cautions += [caution] if caution else []
        named = re.match(r"[A-Z][a-z]?(?![A-Za-z])", label)
        if named and named[0] in SYMBOLS and named[0] not in (element, found[1]):
            cautions.append(f"the site {label} is {element} by its type symbol")
        return element
    if group := _GROUP_LABEL.match(label):
        centre = group[1][0].upper() if group[1][0] in "NnCc" else "O"
        # A stated formula is compared with the sites, which shows a hydrogen that has none.
        if formula is None or centre not in formula:
            raise UnreadableError(
                f"the label {label} names a group of atoms ({group[1]}); give its type symbol, and each hydrogen a site"
            )
        cautions.append(f"the label {label} is read as {centre}")
        return centre
    letters = re.match(r"[A-Za-z]*", label)
    word = letters[0] if letters else ""
    choices = [w for w in (word[:2], word[:1]) if w and w.capitalize() in (*SYMBOLS, *ISOTOPES)]
    choices = list(dict.fromkeys(w.capitalize() for w in choices))
    if formula is not None and len(choices) > 1:
        choices = [c for c in choices if ISOTOPES.get(c, c) in formula] or choices
    if not choices:
        raise UnreadableError(f"the site {label}: its label is no element and it has no type symbol")
    # Labels begin with the element's symbol by the dictionary, so that `Ca1` is calcium; capitals leave it open.
    if len(choices) > 1 and word[:2] != choices[0]:
        raise UnreadableError(f"the label {label} can mean {' or '.join(choices)}; give its type symbol")
    element, caution = element_symbol(choices[0])
    if word.capitalize() not in (element, choices[0]):
        cautions.append(f"the label {label} is read as {element}")
    cautions += [caution] if caution else []
    return element


def expand_sites(
    sites: list[Site], setting: Setting, lattice_ang: np.ndarray
) -> tuple[list[np.ndarray], list[str]]:
    """The orbit of each site, (m, 3) each, and what to say of it; raises UnreadableError for a place that is taken twice."""
    orbits: list[np.ndarray] = []
    notes = []
    for site in sites:
        orbit, moved_ang = _orbit(site, setting, lattice_ang)
        if moved_ang > ROUNDING_ANG:
            notes.append(f"the site {site.label} was moved by {moved_ang:.2f} Å to its special position")
        orbits.append(orbit)
    images = np.concatenate(orbits)
    owner = np.repeat(np.arange(len(sites)), [len(orbit) for orbit in orbits])
    for i, site in enumerate(sites):
        step = images[owner < i] - orbits[i][0]
        near = np.linalg.norm((step - np.rint(step)) @ lattice_ang, axis=1) < COINCIDENT_ANG
        if near.any():
            other = sites[owner[np.argmax(near)]].label
            if other == site.label:
                raise UnreadableError(f"the site {site.label} is occupied twice (2.0)")
            raise UnreadableError(f"the sites {other} and {site.label} are one place, occupied twice (2.0)")
    return orbits, notes


def _orbit(site: Site, setting: Setting, lattice_ang: np.ndarray) -> tuple[np.ndarray, float]:
    """All images of a site, (m, 3), the first of them the site itself, and how far it was moved."""
    step = setting.rotations @ site.frac + setting.translations - site.frac
    step -= np.rint(step)
    stabiliser = np.linalg.norm(step @ lattice_ang, axis=1) < COINCIDENT_ANG
    # The mean over the operations that bring a site back to itself lies exactly on the special position, so that
    # rounded coordinates (.3333) lose nothing.
    shift = step[stabiliser].mean(0)
    start = site.frac + shift
    images = np.mod(setting.rotations @ start + setting.translations, 1.0)
    kept: list[np.ndarray] = [start]
    for image in images:
        gaps = np.array(kept) - image
        if np.linalg.norm((gaps - np.rint(gaps)) @ lattice_ang, axis=1).min() > COINCIDENT_ANG / 3:
            kept.append(image)
    if len(kept) * stabiliser.sum() != len(images):
        raise UnreadableError(f"images of the site {site.label} stand too near each other to be whole atoms")
    return np.array(kept), float(np.linalg.norm(shift @ lattice_ang))
