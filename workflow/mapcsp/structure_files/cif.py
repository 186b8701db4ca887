"""Crystals of a CIF: one a data block that lists atoms, expanded by the symmetry that the block states.

Source of the data names and their defaults: the core CIF dictionary of the International Union of Crystallography.
"""

from __future__ import annotations

import numpy as np

from mapcsp.records import Crystal
from mapcsp.structure_files.cif_block import CifBlock, read_blocks
from mapcsp.structure_files.cif_sites import Site, expand_sites, read_sites
from mapcsp.structure_files.cif_statements import contradiction, stated_formula
from mapcsp.structure_files.cif_symmetry import Setting, possible_settings
from mapcsp.structure_files.record import ReadCrystal, UnreadableError, sound_crystal


def read_cif(text: str) -> list[ReadCrystal]:
    """One record for each block with atoms; raises UnreadableError if the text is no CIF or no block has atoms."""
    blocks = [block for block in read_blocks(text) if block.lists_atoms]
    if not blocks:
        raise UnreadableError("no block of this CIF lists atoms")
    return [_read_block(block) for block in blocks]


def _read_block(block: CifBlock) -> ReadCrystal:
    try:
        crystal, cautions = _crystal(block)
    except UnreadableError as error:
        return ReadCrystal("", None, str(error))
    return ReadCrystal("", crystal, cautions=tuple(dict.fromkeys(cautions)))


def _crystal(block: CifBlock) -> tuple[Crystal, list[str]]:
    if block.twice:
        raise UnreadableError(f"{block.twice[0]} has two different values")
    if block.number_or_none("_cell_modulation_dimension"):
        raise UnreadableError("the structure is modulated; its average cell is not a crystal of full atoms")
    cautions: list[str] = []
    lattice = _lattice(block)
    formula = stated_formula(block, cautions)
    sites = read_sites(block, formula, cautions)
    settings = possible_settings(block, lattice, cautions)
    fits: list[tuple[Setting, Crystal, list[str]]] = []
    faults: list[tuple[Setting, str]] = []
    for setting in settings:
        try:
            crystal, notes = _expanded(block, lattice, sites, setting, formula)
            fits.append((setting, crystal, notes))
        except UnreadableError as error:
            faults.append((setting, str(error)))
    if not fits:
        setting, fault = faults[0]
        raise UnreadableError(fault if len(faults) == 1 else f"read as {setting.name}: {fault}")
    setting, crystal, notes = fits[0]
    if any(not _same(crystal, other) for _, other, _ in fits[1:]):
        names = ", ".join(s.name for s, _, _ in fits[:4]) + (", …" if len(fits) > 4 else "")
        said = f"{setting.cautions[0].partition('; ')[0]}; " if setting.cautions else ""
        raise UnreadableError(
            f"{said}its symmetry can be read in {len(fits)} ways ({names}), which give other crystals; list the "
            "operations, or name the setting"
        )
    if faults:
        cautions.append(
            f"of {len(settings)} readings of its symmetry {setting.name} is taken, the only one that agrees with what else "
            f"the file states (read as {faults[0][0].name}: {faults[0][1]})"
        )
    return crystal, [*cautions, *setting.cautions, *notes]


def _expanded(
    block: CifBlock,
    lattice: np.ndarray,
    sites: list[Site],
    setting: Setting,
    formula: dict[str, float] | None,
) -> tuple[Crystal, list[str]]:
    orbits, notes = expand_sites(sites, setting, lattice)
    species = [site.element for site, orbit in zip(sites, orbits) for _ in orbit]
    crystal = sound_crystal(lattice, species, np.concatenate(orbits))
    fault = contradiction(block, crystal, formula, sites, [len(o) for o in orbits], len(setting.rotations))
    if fault:
        raise UnreadableError(fault)
    return crystal, notes


def _same(first: Crystal, second: Crystal) -> bool:
    """Whether two readings put the same atoms at the same places."""
    if sorted(first.species) != sorted(second.species):
        return False
    step = first.frac_coords[:, None] - second.frac_coords[None]
    near = np.linalg.norm((step - np.rint(step)) @ first.lattice_ang, axis=-1) < 0.01
    alike = np.array(first.species)[:, None] == np.array(second.species)[None]
    return bool((near & alike).any(1).all())


def _lattice(block: CifBlock) -> np.ndarray:
    from pymatgen.core import Lattice

    lengths = [block.number(f"_cell_length_{axis}", f"the cell length {axis}") for axis in "abc"]
    angles = [
        block.number(f"_cell_angle_{name}", f"the cell angle {name}") for name in ("alpha", "beta", "gamma")
    ]
    if min(lengths) <= 0:
        raise UnreadableError(f"a cell length of {min(lengths):g} Å is impossible")
    cosines = np.cos(np.radians(angles))
    # The squared volume of a cell with edges of 1 Å.
    volume = 1 - (cosines**2).sum() + 2 * cosines.prod()
    if min(angles) <= 0 or max(angles) >= 180 or volume < 1e-6:
        shown = ", ".join(f"{angle:g}" for angle in angles)
        raise UnreadableError(f"no cell has the angles {shown}°")
    stated = block.number_or_none("_cell_volume")
    lattice = Lattice.from_parameters(*lengths, *angles)
    if stated is not None and abs(stated / lattice.volume - 1) > 0.02:
        raise UnreadableError(
            f"_cell_volume is {stated:g} Å³, but the cell's lengths and angles give {lattice.volume:.4g} Å³"
        )
    return np.array(lattice.matrix)
