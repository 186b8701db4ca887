"""Any ASE calculator as a potential, and through it SevenNet."""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mapcsp.elements import SYMBOLS
from mapcsp.errors import UserError
from mapcsp.provenance import code_text
from mapcsp.relax.potential import EV_PER_ANG3_IN_GPA, AtomBatch, BatchEvaluation, check_elements


class AsePotential:
    """An ASE calculator behind `mapcsp.relax.potential.Potential`; structures are evaluated one after another."""

    def __init__(
        self,
        name: str,
        calculator: Any,
        content_hash: str,
        elements: frozenset[str],
        needs_mp2020: bool,
        cutoff_ang: float | None = None,
    ) -> None:
        """Wrap a calculator that gives energy (eV), forces (eV/Å) and stress (eV/Å³)."""
        self.name = name
        self.content_hash = content_hash
        self.elements = elements
        self.needs_mp2020 = needs_mp2020
        self.cutoff_ang = cutoff_ang
        self._calculator = calculator

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        """Evaluate each structure; raises UnsupportedElementError, and whatever the calculator raises."""
        from ase import Atoms

        check_elements(self, batch.numbers)
        energies, forces, stresses = [], [], []
        for i, (start, count) in enumerate(zip(batch.starts, batch.counts)):
            atoms = Atoms(
                numbers=batch.numbers[start : start + count],
                positions=batch.positions_ang[start : start + count],
                cell=batch.lattices_ang[i],
                pbc=True,
            )
            atoms.calc = self._calculator
            energies.append(float(atoms.get_potential_energy()))
            forces.append(np.array(atoms.get_forces(), dtype=float))
            stresses.append(np.array(atoms.get_stress(voigt=False), dtype=float) * EV_PER_ANG3_IN_GPA)
        return BatchEvaluation(np.array(energies), np.concatenate(forces), np.array(stresses))


def load_ase(path: str) -> AsePotential:
    """Load a calculator by import path, `module:callable`; the callable, without arguments, returns the calculator.

    All elements H to Pu are taken as known: the calculator refuses what it does not know. Its energies are used as they
    are (no MP2020 corrections). Raises UserError if there is no such callable.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
        make: Callable[[], Any] = getattr(module, attribute)
        if not callable(make):
            raise ValueError(f"{attribute} cannot be called")
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"relax.potential: 'ase:{path}' cannot be imported ({error}); give ase:<module>:<callable>"
        ) from None
    return AsePotential(
        f"ase:{path}", make(), _module_hash(path, module), frozenset(SYMBOLS), needs_mp2020=False
    )


_SEVENNET = {"sevennet-0": "7net-0", "sevennet-l3i5": "7net-l3i5"}


def load_sevennet(name: str, device: str) -> AsePotential:
    """Load SevenNet (GPL-3) from its own package: `sevennet-0` or `sevennet-l3i5`, whose weights it ships.

    Source: Park et al., J. Chem. Theory Comput. 20, 4857 (2024). Raises UserError if `sevenn` is not installed.
    """
    try:
        from sevenn.calculator import SevenNetCalculator
    except ImportError:
        raise UserError(
            f"relax.potential: {name} needs the package sevenn (GPL-3); install it with `pip install 'mapcsp[sevennet]'`"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no GPU accelerator is installed
        calculator = SevenNetCalculator(_SEVENNET[name], device=device)
    elements = frozenset(SYMBOLS[int(z) - 1] for z in calculator.type_map if int(z) <= len(SYMBOLS))
    return AsePotential(
        name, calculator, state_hash(calculator.model), elements, True, float(calculator.cutoff)
    )


def state_hash(module: Any) -> str:
    """SHA-256 of a torch module's parameters and buffers."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()


def _module_hash(path: str, module: ModuleType) -> str:
    """SHA-256 of the calculator's name and of the module that it is made in: an edited calculator is another potential."""
    source = getattr(module, "__file__", None)
    code = code_text(Path(source).read_bytes()) if source and source.endswith(".py") else ""
    return hashlib.sha256(f"{path}\n{code}".encode()).hexdigest()
