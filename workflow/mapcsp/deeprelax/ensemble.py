"""An ensemble's mean prediction and its aleatoric and epistemic uncertainty (arXiv:2404.00865, equations 21 to 24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mapcsp.deeprelax.fused import predict_fused
from mapcsp.deeprelax.network import GraphTensors, PaEGNN
from mapcsp.deeprelax.solver import Distances


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """What an ensemble says about a batch.

    lattice_ang: (b, 3, 3). distances: means over the members. step_ang: (n, 3), displacements.
    aleatoric_ang2, epistemic_ang2: (b,), the two parts of the global uncertainty.
    """

    lattice_ang: Tensor
    distances: Distances
    step_ang: Tensor
    aleatoric_ang2: Tensor
    epistemic_ang2: Tensor


def predict_ensemble(members: Sequence[PaEGNN], graph: GraphTensors) -> EnsemblePrediction:
    """Mean and uncertainty of the members' predictions for a batch."""
    if graph.numbers.device.type == "cpu" and members[0].compiled:
        found = predict_fused(members, graph)
    else:
        with torch.inference_mode():
            found = [member(graph) for member in members]
    uncertain = members[0].config.uncertain
    edges = torch.stack([f.edge_ang for f in found])
    pairs = torch.stack([f.pair_ang for f in found])
    edge_scale = torch.stack([f.edge_log_scale for f in found]).exp().mean(0) * uncertain
    pair_scale = torch.stack([f.pair_log_scale for f in found]).exp().mean(0) * uncertain
    distances = Distances(edges.mean(0), edge_scale, pairs.mean(0), pair_scale)
    aleatoric = crystal_mean(graph, edge_scale, pair_scale).square()
    epistemic = crystal_mean(graph, _variance(edges), _variance(pairs))
    return EnsemblePrediction(
        torch.stack([f.lattice_ang for f in found]).mean(0),
        distances,
        torch.stack([f.step_ang for f in found]).mean(0),
        aleatoric,
        epistemic,
    )


def crystal_mean(graph: GraphTensors, edge: Tensor, pair: Tensor) -> Tensor:
    """Mean (b,) over all edges and pairs of each crystal of values (e,) and (p,)."""
    crystal = torch.cat([graph.crystal[graph.centre], graph.crystal[graph.pair_centre]])
    return _mean(torch.cat([edge, pair]), crystal, len(graph.lattice_ang))


def edge_mean(graph: GraphTensors, edge: Tensor) -> Tensor:
    """Mean (b,) over the edges of each crystal of values (e,)."""
    return _mean(edge, graph.crystal[graph.centre], len(graph.lattice_ang))


def _variance(members: Tensor) -> Tensor:
    """Variance over the first axis, of all that there are; torch's own takes longer over so short an axis."""
    return (members - members.mean(0)).square().mean(0)


def _mean(values: Tensor, crystal: Tensor, n: int) -> Tensor:
    total = torch.zeros(n, dtype=torch.float64, device=values.device).index_add_(0, crystal, values.double())
    return total / torch.bincount(crystal, minlength=n).clamp(min=1)
