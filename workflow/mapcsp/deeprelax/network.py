"""PaEGNN (arXiv:2404.00865, section 4.3) and its heads: relaxed distances, displacements, their uncertainties, the lattice.

Departures from the paper, each for a reason:
- Lattice (equation 10): the paper maps nine cell numbers to nine, which turn with the axes chosen, not with the crystal.
  Here the network predicts a symmetric stretch from scalars, edge directions and vector features, so that the lattice turns
  with the crystal and its symmetry is kept.
- Volume: the sum of atomic volumes, each element's mean volume times a factor that the atom's surroundings decide.
- Distances (equation 8) are corrections to those in the stretched crystal, since a linear head would have to learn the
  identity.
- The heads see the vector features along the edge: equal edges around an atom cannot differ otherwise.
- Each atom's displacement vector is predicted too: where the solver starts from, and the answer of a `direct` network.
- Displacements are measured in the relaxed cell (both ends), so that they say where an atom sits in its cell, not how far
  the cell's strain carried it from an arbitrary origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from mapcsp.deeprelax.encoding import RadialFunctions, offset_encoding, offset_index
from mapcsp.deeprelax.graph import GraphBatch
from mapcsp.deeprelax.message import gather_rows, pass_messages, sum_rows
from mapcsp.elements import SYMBOLS, scaled_element_features


@dataclass(frozen=True)
class NetworkConfig:
    """Size and switches. The paper: width 512, 4 layers, 128 radial functions, 128 offset channels.

    periodic: encode cell offsets (ablation P). uncertain: predict scales of the errors (ablation U); without both, Vanilla.
    direct: take each atom's displacement vector for the answer instead of distances, as the paper's PaiNN baseline does.
    """

    width: int = 64
    layers: int = 3
    radial: int = 24
    offset_channels: int = 16
    vector_channels: int = 16
    longest_edge_ang: float = 6.0
    longest_pair_ang: float = 12.0
    periodic: bool = True
    uncertain: bool = True
    direct: bool = False


@dataclass(frozen=True, eq=False)
class GraphTensors:
    """A GraphBatch as tensors of one device; positions in single precision."""

    numbers: Tensor
    crystal: Tensor
    lattice_ang: Tensor
    frac: Tensor
    centre: Tensor
    neighbour: Tensor
    first_edge: Tensor
    offset: Tensor
    edge_ang: Tensor
    pair_centre: Tensor
    pair_neighbour: Tensor

    @classmethod
    def of(cls, graph: GraphBatch, device: torch.device | str = "cpu") -> GraphTensors:
        """Move a batch to a device."""
        return cls(
            *(
                torch.from_numpy(np.asarray(getattr(graph, name), dtype=kind)).to(device)
                for name, kind in _FIELDS
            )
        )

    def pair_ang(self) -> Tensor:
        """Vectors (p, 3), Å, from each atom to each other one of its cell."""
        difference = self.frac[self.pair_neighbour] - self.frac[self.pair_centre]
        return (difference[:, None] @ self.lattice_ang[self.crystal[self.pair_centre]])[:, 0]


_FIELDS = (
    ("numbers", np.int64),
    ("crystal", np.int64),
    ("lattice_ang", np.float32),
    ("frac", np.float32),
    ("centre", np.int64),
    ("neighbour", np.int64),
    ("first_edge", np.int64),
    ("offset", np.int64),
    ("edge_ang", np.float32),
    ("pair_centre", np.int64),
    ("pair_neighbour", np.int64),
)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """What the network says about the relaxed crystals of a batch.

    lattice_ang: (b, 3, 3). edge_ang: (e,), relaxed lengths of the edges. pair_ang: (p,), distances, in the relaxed cell,
    from an atom's unrelaxed place to another's relaxed one. edge_log_scale, pair_log_scale: ln of the Laplace scale b, Å.
    step_ang: (n, 3), displacements within the relaxed cell, without the crystal's mean.
    """

    lattice_ang: Tensor
    edge_ang: Tensor
    edge_log_scale: Tensor
    pair_ang: Tensor
    pair_log_scale: Tensor
    step_ang: Tensor


LOG_SCALE = (-6.0, 3.0)
MESSAGES = 4.0
"""What sums of messages are divided by: about 20 of random sign add up to four times one."""


class PaEGNN(nn.Module):
    """The network; element volumes (95,), Å³ by atomic number, are what its volume starts from.

    compiled: whether `fused.predict_fused` knows its layers; another encoder under the same heads says no.
    """

    compiled: ClassVar[bool] = True
    element_volume: Tensor
    element_features: Tensor
    offsets: Tensor

    def __init__(self, config: NetworkConfig, element_volume_ang3: np.ndarray) -> None:
        super().__init__()
        self.config = config
        f, g = config.width, config.vector_channels
        self.register_buffer("element_volume", torch.tensor(element_volume_ang3, dtype=torch.float32))
        features = np.vstack([np.zeros(11), scaled_element_features(SYMBOLS)])
        self.register_buffer(
            "element_features", torch.tensor(features, dtype=torch.float32), persistent=False
        )
        self.register_buffer("offsets", offset_encoding(config.offset_channels), persistent=False)
        self.embedding = nn.Embedding(len(SYMBOLS) + 1, f)
        # Elements with few crystals learn from what they have in common with others.
        self.from_features = nn.Linear(11, f)
        self.edge_radial = RadialFunctions(config.radial, config.longest_edge_ang)
        self.pair_radial = RadialFunctions(config.radial, config.longest_pair_ang)
        edge_inputs = config.radial + (config.offset_channels if config.periodic else 0)
        self.filters = nn.ModuleList(nn.Linear(edge_inputs, 3 * f) for _ in range(config.layers))
        self.layers = nn.ModuleList(MessageLayer(f) for _ in range(config.layers))
        last_volume = nn.Linear(f, 1)
        self.volume = nn.Sequential(nn.Linear(f, f), nn.SiLU(), last_volume)
        self.stretch_vectors = nn.Linear(f, g, bias=False)
        self.stretch_weights = nn.Linear(f, g)
        self.edge_head = EdgeHead(f, edge_inputs, g, 3)
        self.pair_head = EdgeHead(f, config.radial, g, 2)
        self.step = nn.Linear(f, 1, bias=False)
        for last in (last_volume, self.stretch_weights, self.edge_head.last, self.pair_head.last):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)

    def forward(self, graph: GraphTensors) -> Relaxed:
        """Predict a batch."""
        x, v, edge_features, unit = self._features(graph)
        pair_ang = graph.pair_ang()
        pair_length, pair_unit = length_and_unit(pair_ang)
        edge = self.edge_head(x, v, graph.centre, graph.neighbour, edge_features, unit)
        pair = self.pair_head(
            x, v, graph.pair_centre, graph.pair_neighbour, self.pair_radial(pair_length), pair_unit
        )
        return self.answer(graph, x, v, unit, pair_ang, edge, pair)

    def answer(
        self, graph: GraphTensors, x: Tensor, v: Tensor, unit: Tensor, pair_ang: Tensor, edge: Tensor, pair: Tensor
    ) -> Relaxed:  # fmt: skip
        """Relaxed crystals from scalars (n, F), vectors (n, 3, F) and what the heads say.

        unit: (e, 3), directions of the edges. pair_ang: (p, 3). edge: (e, 3), pair: (p, 2), outputs of the heads.
        """
        stretch = self._stretch(graph, x, v, unit, edge[:, 2:])
        edge_crystal = graph.crystal[graph.centre]
        pair_crystal = graph.crystal[graph.pair_centre]
        stretched = _norm((graph.edge_ang[:, None] @ stretch[edge_crystal])[:, 0])
        pair_stretched = _norm((pair_ang[:, None] @ stretch[pair_crystal])[:, 0])
        step = self.step(v)[:, :, 0]
        counts = torch.bincount(graph.crystal, minlength=len(graph.lattice_ang))[:, None]
        step = step - (sum_rows(step, graph.crystal, len(graph.lattice_ang)) / counts)[graph.crystal]
        return Relaxed(
            graph.lattice_ang @ stretch,
            (stretched + edge[:, 0]).abs(),
            self._log_scale(edge[:, 1]),
            (pair_stretched + pair[:, 0]).abs(),
            self._log_scale(pair[:, 1]),
            step,
        )

    def _log_scale(self, raw: Tensor) -> Tensor:
        # Starts at a scale of .05 Å, typical of these errors.
        return (raw - 3.0).clamp(*LOG_SCALE) if self.config.uncertain else torch.zeros_like(raw)

    def start(self, graph: GraphTensors) -> tuple[Tensor, Tensor]:
        """Scalars (n, F) and vectors (n, 3, F) before the first layer."""
        x = self.embedding(graph.numbers) + self.from_features(self.element_features[graph.numbers])
        return x, torch.zeros(len(x), 3, self.config.width, dtype=x.dtype, device=x.device)

    def rounds(self) -> list[tuple[MessageLayer, nn.Linear]]:
        """Each layer, and what makes its filters from an edge's features."""
        return cast("list[tuple[MessageLayer, nn.Linear]]", list(zip(self.layers, self.filters)))

    def _features(self, graph: GraphTensors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scalars (n, F), vectors (n, 3, F), edge features and directions (e, 3) after all layers."""
        x, v = self.start(graph)
        length, unit = length_and_unit(graph.edge_ang)
        features = self.edge_radial(length)
        if self.config.periodic:
            features = torch.cat([features, self.offsets[offset_index(graph.offset)]], 1)
        for layer, filters in self.rounds():
            x, v = layer(x, v, filters(features), unit, graph)
        return x, v, features, unit

    def _stretch(self, graph: GraphTensors, x: Tensor, v: Tensor, unit: Tensor, weight: Tensor) -> Tensor:
        """Symmetric stretch (b, 3, 3) of each crystal; its determinant is the ratio of volumes."""
        n_crystals = len(graph.lattice_ang)
        counts = torch.bincount(graph.crystal, minlength=n_crystals)[:, None]
        along_edges = weight * (unit[:, :, None] * unit[:, None]).reshape(-1, 9)
        u = self.stretch_vectors(v)
        along_vectors = torch.einsum("nxg,nyg,ng->nxy", u, u, self.stretch_weights(x)).reshape(-1, 9)
        by_atom = sum_rows(along_edges, graph.centre, len(x)) / 8 + along_vectors
        shape = (sum_rows(by_atom, graph.crystal, n_crystals) / counts).reshape(-1, 3, 3)
        identity = torch.eye(3, dtype=x.dtype, device=x.device)
        shape = shape - shape.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * identity
        # A stretch beyond half a length is a mistake, and one far beyond has no cube root.
        shape = shape / (1 + 4 * shape.square().sum((1, 2), keepdim=True)).sqrt()
        # Three terms of the exponential; the determinant is divided out, so that the volume is the other head's alone.
        square = shape @ shape
        grown = identity + shape + square / 2 + square @ shape / 6
        own = self.element_volume[graph.numbers][:, None]
        total = sum_rows(own, graph.crystal, n_crystals)
        after = sum_rows(own * torch.exp(2 * torch.tanh(self.volume(x) / 2)), graph.crystal, n_crystals)
        scale = (after / total / _determinant(grown)[:, None]).pow(1 / 3)
        return scale[:, :, None] * grown


class MessageLayer(nn.Module):
    """One round of messages (equations 4, 5) and updates (6, 7), both with skip connections."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.send = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.width = width

    def forward(
        self, x: Tensor, v: Tensor, filters: Tensor, unit: Tensor, graph: GraphTensors
    ) -> tuple[Tensor, Tensor]:
        """Scalars (n, F) and vectors (n, 3, F) after it; filters: (e, 3F), unit: (e, 3), directions of the edges."""
        summed, summed_vectors = pass_messages(
            self.send(x), v, filters, unit, graph.centre, graph.neighbour, graph.first_edge
        )
        return self.update_atoms(x + summed / MESSAGES, v + summed_vectors / MESSAGES)

    def update_atoms(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Equations 6 and 7, within each atom."""
        first, second = self.mix(v).split(self.width, dim=2)
        plain, product, along = self.update(torch.cat([x, _norm(second, 1)], 1)).split(self.width, dim=1)
        return x + plain + product * (first * second).sum(1), v + along[:, None] * first


class EdgeHead(nn.Module):
    """Numbers of an edge from its two atoms, its own features, and the atoms' vectors along it (equations 8 and 9)."""

    def __init__(self, width: int, edge_inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        self.vectors = nn.Linear(width, 2 * channels, bias=False)
        self.own = nn.Linear(edge_inputs + 2 * channels, width)
        self.last = nn.Linear(width, outputs)
        self.channels = channels

    def forward(
        self, x: Tensor, v: Tensor, centre: Tensor, neighbour: Tensor, features: Tensor, unit: Tensor
    ) -> Tensor:
        """Outputs (e, o) of edges from atoms `centre` to `neighbour`; features: (e, k), unit: (e, 3), directions."""
        u = self.vectors(v)
        here = gather_rows(u[:, :, : self.channels].reshape(len(u), -1), centre)
        there = gather_rows(u[:, :, self.channels :].reshape(len(u), -1), neighbour)
        along = [(w.reshape(-1, 3, self.channels) * unit[:, :, None]).sum(1) for w in (here, there)]
        hidden = self.own(torch.cat([features, *along], 1))
        hidden = hidden + gather_rows(self.first(x), centre) + gather_rows(self.second(x), neighbour)
        return self.last(nn.functional.silu(hidden))


def _norm(vectors: Tensor, dim: int = -1) -> Tensor:
    return (vectors.square().sum(dim) + 1e-8).sqrt()


def length_and_unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (e,) and directions (e, 3) of vectors."""
    length = _norm(vectors)
    return length, vectors / length[:, None]


def _determinant(matrices: Tensor) -> Tensor:
    a, b, c = matrices.unbind(1)
    return (a * torch.linalg.cross(b, c)).sum(1)


def n_parameters(network: nn.Module) -> int:
    """Trainable numbers."""
    return sum(p.numel() for p in network.parameters())
