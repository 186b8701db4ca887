"""What else a CIF states of its crystal: formula, formula units, density, multiplicities; a reading must agree with it."""

from __future__ import annotations

import re

import numpy as np

from mapcsp.crystals import to_structure
from mapcsp.records import Crystal
from mapcsp.structure_files.cif_block import CifBlock
from mapcsp.structure_files.cif_sites import Site
from mapcsp.structure_files.record import ISOTOPES

# Densities are computed from the cell; measured ones differ by pores and temperature.
DENSITY_TOLERANCE = 0.1
WEIGHT_TOLERANCE = 0.02


def stated_formula(block: CifBlock, cautions: list[str]) -> dict[str, float] | None:
    """Atoms of each element that the block states, isotopes as their element; None if it states none.

    The formula by moieties or of the structure counts where there is no sum, if it is plain enough to be read.
    """
    total = block.text("_chemical_formula_sum")
    amounts = _amounts(total)
    if amounts is None and total:
        cautions.append(f"the formula {total!r} cannot be read and was not compared with the sites")
    if amounts is not None:
        return amounts
    # `Na 1+, Cl 1-, 2(H2 O)`: without charges, factors behind their brackets.
    moieties = re.sub(r"\s\d*[+-](?=\s*(,|$))", "", block.text("_chemical_formula_moiety"))
    moieties = re.sub(r"(\d+)\s*(\([^()]*\))", r"\2\1", moieties)
    return _amounts(moieties) or _amounts(block.text("_chemical_formula_structural"))


def _amounts(text: str) -> dict[str, float] | None:
    from pymatgen.core import Composition

    words = text.replace(",", " ").split()
    if not words:
        return None
    try:
        composition = Composition("".join(words))
    except (ValueError, KeyError):
        return None
    found: dict[str, float] = {}
    for element, amount in composition.items():
        symbol = ISOTOPES.get(element.symbol, element.symbol)
        found[symbol] = found.get(symbol, 0.0) + float(amount)
    return found


def contradiction(
    block: CifBlock,
    crystal: Crystal,
    formula: dict[str, float] | None,
    sites: list[Site],
    multiplicities: list[int],
    n_operations: int,
) -> str:
    """Why a reading cannot be what the block means, or an empty text.

    multiplicities: atoms of each site as read. n_operations: of the setting, centrings among them.
    """
    names, counts = np.unique(crystal.species, return_counts=True)
    read = dict(zip(names.tolist(), map(float, counts)))
    if formula is not None and (fault := _formula_fault(formula, read)):
        return fault
    for site, multiplicity in zip(sites, multiplicities):
        # Older programs wrote the order of the site's symmetry group under this name.
        if site.multiplicity is not None and site.multiplicity not in (
            multiplicity,
            n_operations / multiplicity,
        ):
            return f"the file states {site.multiplicity:g} atoms of the site {site.label}, its symmetry gives {multiplicity}"
    z = block.number_or_none("_cell_formula_units_z")
    if z and (fault := _z_fault(z, formula, read)):
        return fault
    weight = block.number_or_none("_chemical_formula_weight")
    mass = float(to_structure(crystal).composition.weight)
    if weight and abs(mass / weight - (z or max(round(mass / weight), 1))) > WEIGHT_TOLERANCE * mass / weight:
        return f"the file states a formula weight of {weight:g} g/mol, its sites give {mass:.5g} in the cell"
    density = block.number_or_none("_exptl_crystal_density_diffrn")
    found = float(to_structure(crystal).density)
    if density and abs(found / density - 1) > DENSITY_TOLERANCE:
        return f"the file states a density of {density:g} g/cm³, its sites give {found:.3g}"
    return ""


def _formula_fault(stated: dict[str, float], read: dict[str, float]) -> str:
    shares = [{e: n / sum(amounts.values()) for e, n in amounts.items()} for amounts in (stated, read)]
    # Whole numbers are exact; fractions may be rounded, such as .333.
    tolerance = 1e-6 if all(n == round(n) for n in stated.values()) else 2e-3
    if all(abs(shares[0].get(e, 0) - shares[1].get(e, 0)) < tolerance for e in set(stated) | set(read)):
        return ""
    fault = f"the file states {_written(stated)}, its sites give {_written(read)}"
    if missing := [f"{stated[e]:g} {e}" for e in stated if e not in read]:
        fault += f"; {' and '.join(missing)} of the stated formula have no site"
    return fault


def _z_fault(z: float, formula: dict[str, float] | None, read: dict[str, float]) -> str:
    n_read = sum(read.values())
    if formula is None:
        if all(abs(n / z - round(n / z)) < 1e-3 for n in read.values()):
            return ""
        return (
            f"the file states {z:g} formula units in the cell, its sites give {_written(read, reduced=False)}"
        )
    # Some programs write the content of the cell as the formula, and the units of the reduced one.
    units = (sum(formula.values()), _reduced_size(formula))
    if any(abs(n_read - z * size) < 0.5 for size in units):
        return ""
    return (
        f"the file states {z:g} formula units of {_written(formula, reduced=False)} in the cell, its sites give "
        f"{_written(read, reduced=False)}"
    )


def _reduced_size(amounts: dict[str, float]) -> float:
    from pymatgen.core import Composition

    return float(Composition(amounts).element_composition.reduced_composition.num_atoms)


def _written(amounts: dict[str, float], reduced: bool = True) -> str:
    from pymatgen.core import Composition

    composition = Composition(amounts)
    return str(composition.reduced_formula if reduced else composition.formula.replace(" ", ""))
