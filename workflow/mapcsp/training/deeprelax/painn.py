"""DeepRelax's baseline from a library: SchNetPack's PaiNN under the same displacement and lattice heads.

PaiNN (Schütt, Unke, Gastegger, arXiv:2102.03150) as SchNetPack has it reads the same graphs, at the same volumes; an atom's
displacement is one linear map of its vectors, and the answer without a solver; the lattice head is DeepRelax's own, since
PaiNN has none. So the figures compare what the periodic encoding, the distances and their solver add to a known encoder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor, nn

from mapcsp.deeprelax.network import GraphTensors, NetworkConfig, PaEGNN, length_and_unit
from mapcsp.errors import UserError

if TYPE_CHECKING:
    from schnetpack.representation import PaiNN

PAINN_NETWORK = replace(NetworkConfig(), periodic=False, uncertain=False, direct=True)
"""Width, layers and radial functions of the shipped members; displacements directly, as the paper's baselines."""


class LibraryPaiNN(PaEGNN):
    """The library's encoder in place of DeepRelax's layers; raises UserError where the library is not installed."""

    compiled: ClassVar[bool] = False

    def __init__(self, config: NetworkConfig, element_volume_ang3: np.ndarray) -> None:
        super().__init__(config, element_volume_ang3)
        # The library has its own.
        self.layers, self.filters = nn.ModuleList(), nn.ModuleList()
        del self.embedding, self.from_features
        self.encoder = library_painn(config)

    def _features(self, graph: GraphTensors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        length, unit = length_and_unit(graph.edge_ang)
        found = self.encoder(
            {"_atomic_numbers": graph.numbers, "_Rij": graph.edge_ang, "_idx_i": graph.centre, "_idx_j": graph.neighbour}
        )  # fmt: skip
        x, v = found["scalar_representation"], found["vector_representation"]
        return x, v, self.edge_radial(length), unit


def library_painn(config: NetworkConfig) -> PaiNN:
    """SchNetPack's PaiNN of a size, with its cosine cutoff at the longest edge."""
    try:
        from schnetpack.nn import CosineCutoff, GaussianRBF
        from schnetpack.representation import PaiNN
    except ImportError as error:
        raise UserError(
            f"the PaiNN baseline needs SchNetPack 2.2 and Python 3.12 ({error}); install the extra `painn`"
        ) from None
    cutoff_ang = config.longest_edge_ang
    return PaiNN(
        config.width,
        config.layers,
        radial_basis=GaussianRBF(n_rbf=config.radial, cutoff=cutoff_ang),
        cutoff_fn=CosineCutoff(cutoff_ang),
    )
