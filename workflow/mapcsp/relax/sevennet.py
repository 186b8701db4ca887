"""SevenNet's energies alone, without forces: what the ranking asks of a second potential.

Source: Park et al., J. Chem. Theory Comput. 20, 4857 (2024); its package (GPL-3) ships the model `l3i5`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from mapcsp.elements import SYMBOLS, atomic_number
from mapcsp.errors import UnsupportedElementError, UserError
from mapcsp.records import Crystal
from mapcsp.relax.ase_calculators import state_hash

SHIPPED = {"sevennet-l3i5": "7net-l3i5"}


class SevenNetEnergies:
    """SevenNet for energies of crystals; a third of the time that forces and stress take as well."""

    def __init__(self, name: str, device: str) -> None:
        """Load a model of SHIPPED; raises UserError if the package `sevenn` is not installed."""
        try:
            from sevenn.calculator import SevenNetCalculator
        except ImportError:
            raise UserError(
                f"rescore.potential: {name} needs the package sevenn (GPL-3); install it with "
                "`pip install 'mapcsp[sevennet]'`, or set rescore.potential to auto or none"
            ) from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no GPU accelerator is installed
            calculator = SevenNetCalculator(SHIPPED[name], device=device)
        self.name = name
        self.elements = frozenset(SYMBOLS[int(z) - 1] for z in calculator.type_map if int(z) <= len(SYMBOLS))
        self._device, self._model, self._cutoff_ang = calculator.device, calculator.model, calculator.cutoff
        self.content_hash = state_hash(self._model)
        # Its last module differentiates the energy; without it nothing keeps a graph of operations.
        self._model.delete_module_by_key("force_output")
        self._model.key_grad = None

    def energies_ev_per_atom(self, crystals: Sequence[Crystal]) -> np.ndarray:
        """Energies of crystals: (n,), eV/atom; raises UnsupportedElementError, naming the elements.

        One after another: on a core a batch of 32 takes twice the time a crystal (memory), measured at 13 atoms a cell.
        """
        unknown = sorted({s for crystal in crystals for s in crystal.species} - self.elements)
        if unknown:
            raise UnsupportedElementError(f"{self.name} was not trained on {', '.join(unknown)}")
        return np.array([self._energy_ev(crystal) / crystal.n_atoms for crystal in crystals])

    def _energy_ev(self, crystal: Crystal) -> float:
        import torch
        from ase import Atoms
        from sevenn import _keys as key
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph

        atoms = Atoms(
            numbers=[atomic_number(symbol) for symbol in crystal.species],
            cell=crystal.lattice_ang,
            scaled_positions=crystal.frac_coords,
            pbc=True,
        )
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, self._cutoff_ang))
        with torch.inference_mode():
            return float(self._model(graph.to(self._device))[key.PRED_TOTAL_ENERGY])
