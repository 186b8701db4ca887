"""The uncertainty-aware loss of arXiv:2404.00865 (equations 11 to 14)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mapcsp.deeprelax.network import GraphTensors, NetworkConfig, Relaxed


@dataclass(frozen=True, eq=False)
class Truth:
    """What a batch relaxes to: lattice (b, 3, 3), lengths of the edges (e,), displaced distances (p,), all Å.

    step_ang: (n, 3), displacements within the relaxed cell.
    """

    lattice_ang: Tensor
    edge_ang: Tensor
    pair_ang: Tensor
    step_ang: Tensor


@dataclass(frozen=True)
class LossSettings:
    """Weights of mean absolute errors (Å) beside the likelihoods, which count once (the paper adds all with weight 1).

    They are more than 1, because a likelihood weighs an error of .05 Å by twenty. distance: only without uncertainty.
    """

    lattice: float = 10.0
    step: float = 10.0
    distance: float = 10.0


def truth_of(graph: GraphTensors, lattice_ang: Tensor, frac: Tensor) -> Truth:
    """Distances of relaxed crystals on a graph's edges; lattice (b, 3, 3), coordinates (n, 3) beside the unrelaxed ones."""
    cell = lattice_ang[graph.crystal]
    step = ((frac - graph.frac)[:, None] @ cell)[:, 0]
    difference = frac[graph.neighbour] - frac[graph.centre] + graph.offset
    edge = (difference[:, None] @ cell[graph.centre])[:, 0].norm(dim=1)
    moved = frac[graph.pair_neighbour] - graph.frac[graph.pair_centre]
    pair = (moved[:, None] @ cell[graph.pair_centre])[:, 0].norm(dim=1)
    return Truth(lattice_ang, edge, pair, step)


def laplace_loss(predicted: Tensor, true: Tensor, log_scale: Tensor) -> Tensor:
    """Mean negative log-likelihood, ln(2b) + |error| / b, of a Laplace distribution (equation 15)."""
    return (log_scale + torch.log(torch.tensor(2.0)) + (predicted - true).abs() / log_scale.exp()).mean()


def relaxation_loss(
    predicted: Relaxed, truth: Truth, config: NetworkConfig, settings: LossSettings
) -> Tensor:
    """Sum of the losses of edges, displacements and lattice; without uncertainty, of mean absolute errors."""
    vectors = settings.lattice * (predicted.lattice_ang - truth.lattice_ang).abs().mean()
    vectors = vectors + settings.step * (predicted.step_ang - truth.step_ang).abs().mean()
    if config.direct:
        return vectors
    if not config.uncertain:
        edge = (predicted.edge_ang - truth.edge_ang).abs().mean()
        return vectors + settings.distance * (edge + (predicted.pair_ang - truth.pair_ang).abs().mean())
    edge = laplace_loss(predicted.edge_ang, truth.edge_ang, predicted.edge_log_scale)
    return vectors + edge + laplace_loss(predicted.pair_ang, truth.pair_ang, predicted.pair_log_scale)
