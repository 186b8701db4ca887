"""How fast relaxation is, beside other ways to do it on the same structures in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pymatgen.core import Lattice, Structure

from mapcsp.crystals import from_structure
from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.relax.backends import load_potential
from mapcsp.relax.potential import EV_PER_ANG3_IN_GPA, AtomBatch, Potential
from mapcsp.relax.relaxation import relax_crystals
from mapcsp.settings import RelaxSettings


@dataclass(frozen=True)
class RelaxBenchmark:
    """Structure-steps a second of one core's time (a step: energy, forces, stress, neighbour list and optimiser).

    Ratios say how many times faster than CHGNet in the same batches, and than ASE's FIRE one structure after another with
    the same M3GNet; None where the package is not installed. load: of the machine, over the last minute.
    """

    relax_structure_steps_per_s: float
    relax_ratio_to_chgnet: float | None
    relax_ratio_to_ase: float | None
    n_structures: int
    atoms_per_structure: float
    load: float


def benchmark_relax(n_structures: int = 192, seed: int = 1) -> RelaxBenchmark:
    """Relax displaced crystals of 2 to 12 atoms with M3GNet, and a part of them with CHGNet and with ASE.

    Raises UserError if the M3GNet weights are missing.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the time of the one thread is then independent of what else the machine does
    try:
        return _benchmark(benchmark_crystals(n_structures, seed))
    finally:
        torch.set_num_threads(threads)


def _benchmark(crystals: Sequence[Crystal]) -> RelaxBenchmark:
    m3gnet = load_potential("m3gnet", "cpu")
    rate = _steps_per_s(crystals, m3gnet, 300)
    try:
        chgnet = _steps_per_s(crystals[:24], load_potential("chgnet", "cpu"), 5)
        ratio_to_chgnet = round(_steps_per_s(crystals[:24], m3gnet, 5) / chgnet, 2)
    except UserError:  # not installed
        ratio_to_chgnet = None
    try:
        ratio_to_ase = round(rate / _ase_steps_per_s(crystals[:12], m3gnet), 2)
    except ImportError:
        ratio_to_ase = None
    return RelaxBenchmark(
        round(rate, 1),
        ratio_to_chgnet,
        ratio_to_ase,
        len(crystals),
        round(float(np.mean([c.n_atoms for c in crystals])), 2),
        round(os.getloadavg()[0], 2),
    )


def benchmark_crystals(n_structures: int, seed: int) -> list[Crystal]:
    """Well-known crystals, their atoms displaced by 0.1 Å and their cells strained by up to 3 %."""
    rng = np.random.default_rng(seed)
    perfect = _known_crystals()
    out = []
    for k in range(n_structures):
        crystal = perfect[k % len(perfect)]
        strain = rng.normal(size=(3, 3))
        strain = 0.03 * (strain + strain.T) / np.abs(strain + strain.T).max()
        lattice = crystal.lattice_ang @ (np.eye(3) + strain)
        shift = rng.normal(size=(crystal.n_atoms, 3))
        shift *= 0.1 / np.linalg.norm(shift, axis=1, keepdims=True)
        frac = np.mod(crystal.frac_coords + shift @ np.linalg.inv(lattice), 1.0)
        out.append(Crystal(lattice, crystal.species, frac))
    return out


def _known_crystals() -> list[Crystal]:
    """Primitive cells of 2 to 12 atoms; lattice constants from the literature, rounded."""
    cubic, tetragonal, hexagonal = Lattice.cubic, Lattice.tetragonal, Lattice.hexagonal
    third, corner, centre = [1 / 3, 2 / 3, 0], [0, 0, 0], [0.5, 0.5, 0.5]
    quarter = [0.25, 0.25, 0.25]
    entries: list[tuple[int, Lattice, list[str], Any]] = [
        (225, cubic(5.64), ["Na", "Cl"], [corner, centre]),
        (216, cubic(5.41), ["Zn", "S"], [corner, quarter]),
        (225, cubic(5.46), ["Ca", "F"], [corner, quarter]),
        (216, cubic(5.95), ["Ti", "Ni", "Sn"], [corner, quarter, centre]),
        (225, cubic(5.76), ["Al", "Mn", "Cu"], [corner, centre, quarter]),
        (186, hexagonal(3.25, 5.21), ["Zn", "O"], [third, [1 / 3, 2 / 3, 0.382]]),
        (221, cubic(3.905), ["Sr", "Ti", "O"], [corner, centre, [0.5, 0.5, 0]]),
        (139, tetragonal(3.96, 13.0), ["Ba", "Fe", "As"], [corner, [0.5, 0, 0.25], [0, 0, 0.3545]]),
        (136, tetragonal(4.59, 2.96), ["Ti", "O"], [corner, [0.305, 0.305, 0]]),
        (129, tetragonal(4.03, 8.74), ["La", "Fe", "As", "O"],
         [[0, 0.5, 0.142], [0, 0, 0.5], [0, 0.5, 0.651], corner]),
        (223, cubic(5.29), ["Nb", "Sn"], [[0.25, 0, 0.5], corner]),
        (167, hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]),
        (205, cubic(5.42), ["Fe", "S"], [corner, [0.385, 0.385, 0.385]]),
    ]  # fmt: skip
    structures = [Structure.from_spacegroup(sg, cell, species, sites) for sg, cell, species, sites in entries]
    return [from_structure(s.get_primitive_structure()) for s in structures]


def _steps_per_s(crystals: Sequence[Crystal], potential: Potential, max_steps: int) -> float:
    relax_crystals(
        crystals[:2], RelaxSettings.model_validate({"max_steps": 1}), potential
    )  # compile, allocate
    started = time.process_time()
    ends = relax_crystals(crystals, RelaxSettings.model_validate({"max_steps": max_steps}), potential)
    return sum(end.n_steps + 1 for end in ends) / (time.process_time() - started)


def _ase_steps_per_s(crystals: Sequence[Crystal], potential: Potential) -> float:
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
    from ase.filters import UnitCellFilter
    from ase.optimize import FIRE

    class Single(Calculator):
        implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (ASE's interface)
        evaluations = 0

        def calculate(self, atoms=None, properties=None, system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            cell, positions = np.array(atoms.cell), np.array(atoms.positions)
            batch = AtomBatch(cell[None], positions, np.array(atoms.numbers), np.array([len(positions)]))
            found = potential.evaluate_batch(batch)
            stress = found.stress_gpa[0] / EV_PER_ANG3_IN_GPA
            self.results = {
                "energy": float(found.energy_ev[0]),
                "forces": found.forces_ev_per_ang,
                "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
            }
            self.evaluations += 1

    calculator = Single()
    started = time.process_time()
    for crystal in crystals:
        numbers = [SYMBOLS.index(s) + 1 for s in crystal.species]
        atoms = Atoms(
            numbers=numbers, cell=crystal.lattice_ang, scaled_positions=crystal.frac_coords, pbc=True
        )
        atoms.calc = calculator
        FIRE(UnitCellFilter(atoms), logfile=None).run(fmax=0.05, steps=300)
    return calculator.evaluations / (time.process_time() - started)
