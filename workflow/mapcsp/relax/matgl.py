"""Potentials of matgl, behind a check that they were loaded right.

matgl changed the direction of its messages in version 3: older weights load there without a word and give wrong energies.
So a model must order known crystals, and find their lattice constants, before it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.relax.ase_calculators import AsePotential, state_hash
from mapcsp.relax.potential import Potential, evaluate

# Crystals at their lattice constants (Å, experimental, rounded), and how far off a potential's energy minimum may be.
_EQUATION_OF_STATE = (0.90, 0.95, 1.0, 1.05, 1.10)
MAX_FORCE_ERROR = 0.1  # share of the largest force, against finite differences
# ASSUME: rock salt lies so far below zinc blende in NaCl and MgO that every trained potential has it so.
_ORDERED = (("NaCl", 5.64, "rocksalt", "zincblende"), ("MgO", 4.21, "rocksalt", "zincblende"))


def load_matgl(model: str, device: str) -> Potential:
    """Load a model of matgl by its name on the hub, or from a local folder, as `matgl:<model>`.

    Raises UserError if matgl is not installed, the model cannot be had, or `check_energies` finds a fault.
    """
    try:
        import matgl
        from matgl.ext.ase import PESCalculator
    except ImportError as error:
        raise UserError(
            f"relax.potential: matgl:{model} needs the package matgl ({error}); install it with "
            "`pip install 'mapcsp[matgl]'`"
        ) from None
    try:
        network = matgl.load_model(model)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"relax.potential: matgl:{model} cannot be loaded: {str(error)[:300]}") from None
    network = network.to(device)
    potential = AsePotential(
        f"matgl:{model}",
        PESCalculator(network, stress_unit="eV/A3"),
        state_hash(network),
        frozenset(_elements(network)) & frozenset(SYMBOLS),
        needs_mp2020=True,
    )
    fault = check_energies(potential)
    if fault:
        raise UserError(f"relax.potential: matgl:{model} fails the check on known crystals: {fault}")
    return potential


def check_energies(potential: Potential) -> str:
    """Why a potential's energies of known crystals cannot be right; an empty text if they can.

    Rock salt must lie below zinc blende for NaCl and MgO, its energy must be lowest within 5 % of the real lattice constant,
    and forces must be the slope of the energy.
    """
    for formula, constant, low, high in _ORDERED:
        scan = evaluate(potential, [_binary(formula, low, constant * s) for s in _EQUATION_OF_STATE])
        energies = np.array([e.energy_ev for e in scan])
        if not np.isfinite(energies).all():
            return f"the energy of {formula} is not finite"
        best = _EQUATION_OF_STATE[int(energies.argmin())]
        if abs(best - 1) > 0.051:
            return f"{formula} is lowest at {best:.2f} of its lattice constant"
        # Zinc blende is wider by the ratio of its bond length's 4 / sqrt(3) to rock salt's 2.
        other = evaluate(potential, [_binary(formula, high, constant * 1.09 * s) for s in _EQUATION_OF_STATE])
        if min(e.energy_ev for e in other) <= energies.min():
            return f"{formula} is lower as {high} than as {low}"
    return _check_forces(potential)


def _check_forces(potential: Potential) -> str:
    step = 0.01
    crystal = _binary("NaCl", "rocksalt", 5.64)
    inverse = np.linalg.inv(crystal.lattice_ang)
    shifted = [
        Crystal(
            crystal.lattice_ang,
            crystal.species,
            crystal.frac_coords + np.array([[0, 0, 0], [x, 0, 0]]) @ inverse,
        )
        for x in (0.2 - step, 0.2, 0.2 + step)
    ]
    before, here, after = evaluate(potential, shifted)
    slope = -(after.energy_ev - before.energy_ev) / (2 * step)
    force = here.forces_ev_per_ang[1, 0]
    if not np.isfinite(force) or abs(force - slope) > MAX_FORCE_ERROR * abs(slope) + 0.01:
        return f"a force in NaCl is {force:.3f} eV/Å, the energy's slope {slope:.3f}"
    return ""


def _binary(formula: str, structure: str, constant_ang: float) -> Crystal:
    cation, anion = {"NaCl": ("Na", "Cl"), "MgO": ("Mg", "O")}[formula]
    place = {"rocksalt": 0.5, "zincblende": 0.25}[structure]
    half = constant_ang / 2
    lattice = np.array([[0, half, half], [half, 0, half], [half, half, 0]])
    return Crystal(lattice, (cation, anion), np.array([[0.0] * 3, [place] * 3]))


def _elements(network: Any) -> tuple[str, ...]:
    """Symbols that a matgl potential, or the model inside it, names."""
    model = getattr(network, "model", network)
    return tuple(model.element_types)
