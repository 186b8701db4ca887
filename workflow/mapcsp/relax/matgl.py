"""Potentials of matgl, behind a check that they were loaded right.

matgl changed the direction of its messages in version 3: older weights load there without a word and give wrong energies.
So a model must order known crystals, and find their lattice constants, before it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.relax.ase_calculators import state_hash
from mapcsp.relax.potential import AtomBatch, BatchEvaluation, Potential, check_elements, evaluate

# Crystals at their lattice constants (Å, experimental, rounded), and how far off a potential's energy minimum may be.
_EQUATION_OF_STATE = (0.90, 0.95, 1.0, 1.05, 1.10)
MAX_FORCE_ERROR = 0.1  # share of the largest force, against finite differences
# Of chlorine in NaCl. No distance then crosses 4, 5 or 6 Å, the usual cutoffs, where the slope of M3GNet's energy jumps.
_DISPLACEMENT_ANG = 0.15
# ASSUME: rock salt lies so far below zinc blende in NaCl and MgO that every trained potential has it so.
_ORDERED = (("NaCl", 5.64, "rocksalt", "zincblende"), ("MgO", 4.21, "rocksalt", "zincblende"))


class MatglPotential:
    """A potential of matgl behind `mapcsp.relax.potential.Potential`; structures are evaluated in one batched graph."""

    # ASSUME: trained on raw PBE(+U) energies, as those models of matgl's hub are that learnt from the Materials Project.
    needs_mp2020 = True

    def __init__(self, name: str, network: Any, device: str) -> None:
        """Wrap a `matgl.apps.pes.Potential`, which is set to give forces and stresses, and no more."""
        from matgl.ext.ase import Atoms2Graph

        self.name = name
        self._device = device
        # A loaded network is in training mode, in which it keeps what second derivatives need.
        self._network = network.to(device).eval().requires_grad_(False)
        network.calc_forces = network.calc_stresses = True
        network.calc_hessian = False
        self.content_hash = state_hash(network)
        self.elements = frozenset(network.model.element_types) & frozenset(SYMBOLS)
        self.cutoff_ang: float | None = float(network.model.cutoff)
        self._converter = Atoms2Graph(network.model.element_types, network.model.cutoff)

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        """Evaluate structures together; raises UnsupportedElementError, and whatever matgl raises."""
        import torch
        from ase import Atoms
        from torch_geometric.data import Batch

        check_elements(self, batch.numbers)
        graphs = []
        for lattice, start, count in zip(batch.lattices_ang, batch.starts, batch.counts):
            atoms = slice(start, start + count)
            crystal = Atoms(batch.numbers[atoms], batch.positions_ang[atoms], cell=lattice, pbc=True)
            graphs.append(self._converter.get_graph(crystal)[0])
        b = len(graphs)
        lattices = torch.tensor(batch.lattices_ang, dtype=torch.float32, device=self._device)
        state = torch.zeros((b, 2), device=self._device)
        neutral = {"total_charge": torch.zeros(b, device=self._device)} if self._network.calc_charge else {}
        energy, forces, stress = self._network(
            Batch.from_data_list(graphs).to(self._device), lattices, state, **neutral
        )[:3]
        # matgl's stresses are in GPa and negative under compression, as ours.
        return BatchEvaluation(
            energy.detach().cpu().double().numpy().reshape(b),
            forces.detach().cpu().double().numpy(),
            stress.detach().cpu().double().numpy().reshape(b, 3, 3),
        )


def load_matgl(model: str, device: str) -> Potential:
    """Load a model of matgl by its name on the hub, or from a local folder, as `matgl:<model>`.

    Raises UserError if matgl is not installed, the model cannot be had or gives no energies of crystals, or
    `check_energies` finds a fault.
    """
    try:
        import matgl
        from matgl.apps.pes import Potential as Network
    except ImportError as error:
        raise UserError(
            f"relax.potential: matgl:{model} needs the package matgl ({error}); install it with "
            "`pip install 'mapcsp[matgl]'`"
        ) from None
    try:
        network = matgl.load_model(_folder(model) or model)
    except (OSError, ValueError, RuntimeError) as error:
        # matgl says what went wrong in the exception from which it raises its own.
        said = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"relax.potential: matgl:{model} cannot be loaded: {said}") from None
    if not isinstance(network, Network):
        raise UserError(
            f"relax.potential: matgl:{model} is a {type(network).__name__}, not a potential (matgl.apps.pes.Potential)"
        )
    potential = MatglPotential(f"matgl:{model}", network, device)
    fault = check_energies(potential)
    if fault:
        raise UserError(
            f"relax.potential: matgl:{model} fails the check on known crystals: {fault}; choose another model"
        )
    return potential


def _folder(model: str) -> Path | None:
    """The folder that `model` names; None for a name on the hub, `name` or `owner/name`, that is no folder here."""
    folder = Path(model).expanduser()
    if not folder.is_dir() and not model.startswith(("/", ".", "~")) and model.count("/") < 2:
        return None
    # matgl would look for it on the hub.
    missing = [name for name in ("model.json", "model.pt", "state.pt") if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"relax.potential: matgl:{model} lacks {', '.join(missing)}; name a model of matgl's hub or a folder to "
            "which matgl saved one"
        )
    return folder


def check_energies(potential: Potential) -> str:
    """Why a potential's energies of known crystals cannot be right; an empty text if they can.

    Rock salt must lie below zinc blende for NaCl and MgO, its energy must be lowest within 5 % of the real lattice constant,
    and forces must be the slope of the energy.
    """
    unknown = sorted({"Na", "Cl", "Mg", "O"} - potential.elements)
    if unknown:
        return f"it does not know {', '.join(unknown)}, with which potentials are checked"
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
        for x in (_DISPLACEMENT_ANG - step, _DISPLACEMENT_ANG, _DISPLACEMENT_ANG + step)
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
