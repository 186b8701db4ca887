"""CHGNet as a potential.

Source: Deng et al., Nature Machine Intelligence 5, 1031 (2023).
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np

from mapcsp.elements import SUPPORTED_ELEMENTS, SYMBOLS
from mapcsp.errors import UserError
from mapcsp.relax.ase_calculators import state_hash
from mapcsp.relax.potential import AtomBatch, BatchEvaluation, check_elements

_STRUCTURES_PER_CALL = 32


class CHGNetPotential:
    """CHGNet with the weights that its package ships; its energies already carry the MP2020 corrections."""

    name = "chgnet"
    needs_mp2020 = False
    # Trained on MPtrj, which covers the same 89 elements as M3GNet's training data.
    elements = SUPPORTED_ELEMENTS

    def __init__(self, device: str = "cpu") -> None:
        """Load the model; raises UserError if the package is not installed."""
        try:
            from chgnet.model import CHGNet
        except ImportError:
            raise UserError(
                "relax.potential: chgnet needs its package; install it with `pip install 'mapcsp[chgnet]'`"
            ) from None
        with redirect_stdout(io.StringIO()):  # it prints its size
            self._model = CHGNet.load(use_device=device, verbose=False)
        self.content_hash = state_hash(self._model)
        self.cutoff_ang: float | None = float(self._model.graph_converter.atom_graph_cutoff)

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        """Evaluate structures in CHGNet's own batches; raises UnsupportedElementError."""
        from pymatgen.core import Lattice, Structure

        check_elements(self, batch.numbers)
        structures = [
            Structure(
                Lattice(batch.lattices_ang[i]),
                [SYMBOLS[z - 1] for z in batch.numbers[start : start + count]],
                batch.positions_ang[start : start + count],
                coords_are_cartesian=True,
            )
            for i, (start, count) in enumerate(zip(batch.starts, batch.counts))
        ]
        found = self._model.predict_structure(structures, task="efs", batch_size=_STRUCTURES_PER_CALL)
        predictions = found if isinstance(found, list) else [found]
        energy = np.array([float(p["e"]) for p in predictions]) * batch.counts
        forces = np.concatenate([np.asarray(p["f"], dtype=float) for p in predictions])
        return BatchEvaluation(
            energy, forces, np.array([np.asarray(p["s"], dtype=float) for p in predictions])
        )
