"""The numerical Euclidean-distance-geometry solver of arXiv:2404.00865 (equations 16 to 20), many crystals at once.

Adam (Kingma and Ba, arXiv:1412.6980) minimises the bounded loss in the predicted cell, from the displaced atoms. Departures:
the second moment is one number a crystal, since one a coordinate turns with the axes and would move atoms off the symmetry
that their forces keep; the step shrinks to zero, since a loss with corners makes constant steps jitter about its minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from mapcsp.deeprelax.network import GraphTensors


@dataclass(frozen=True)
class SolverSettings:
    """Steps and first, largest step (Å) of Adam; bound: half-width of the interval of no loss, in units of the scale b.

    The paper's code takes 100 steps of .1 Å and a bound of 1; with shrinking steps, 40 end within .003 Å of where 200 do.
    """

    steps: int = 40
    step_ang: float = 0.1
    bound: float = 1.0


FIRST_DECAY, SECOND_DECAY, SMALLEST_SCALE = 0.9, 0.999, 1e-3
"""Adam's decays of the first and second moment, and what is added to the root of the second (per Å)."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Constraints on a batch: edges (e,) and displaced pairs (p,) with the scales of their errors, Å."""

    edge_ang: Tensor
    edge_scale_ang: Tensor
    pair_ang: Tensor
    pair_scale_ang: Tensor


def solve_positions(
    graph: GraphTensors,
    lattice_ang: Tensor,
    distances: Distances,
    start_frac: Tensor,
    settings: SolverSettings,
) -> Tensor:
    """Find positions that satisfy the distances as well as bounds allow.

    lattice_ang: (b, 3, 3), relaxed. start_frac: (n, 3), where the search starts.
    Returns fractional coordinates (n, 3) beside the graph's, with its centroid.
    """
    cell = lattice_ang[graph.crystal]
    start = (graph.frac[:, None] @ cell)[:, 0].double()
    shift = (graph.offset.to(cell.dtype)[:, None] @ cell[graph.centre])[:, 0].double()
    constraints = Constraints.of(graph, shift, distances, settings.bound)
    counts = torch.bincount(graph.crystal, minlength=len(lattice_ang)).double()
    position = (start_frac.to(cell.dtype)[:, None] @ cell)[:, 0].double()
    if position.device.type == "cpu":
        _descend_compiled(constraints, graph, position, start, settings)
    else:
        position = descend_by_tensors(constraints, graph.crystal, position, start, settings)
    moved = position - start
    mean = torch.zeros(len(lattice_ang), 3, dtype=moved.dtype, device=moved.device)
    mean.index_add_(0, graph.crystal, moved)
    moved = moved - (mean / counts[:, None])[graph.crystal]
    inverse = torch.linalg.inv(lattice_ang.double())[graph.crystal]
    return graph.frac.double() + (moved[:, None] @ inverse)[:, 0]


def descend_by_tensors(
    constraints: Constraints, crystal: Tensor, position: Tensor, start: Tensor, settings: SolverSettings
) -> Tensor:
    """Positions (n, 3) after all steps, by tensor operations, for any device; crystal: (n,), of each atom."""
    counts = torch.bincount(crystal).double()
    first = torch.zeros_like(start)
    second = torch.zeros_like(counts)
    for step in range(settings.steps):
        gradient = constraints.gradient_by_tensors(position, start)
        first = FIRST_DECAY * first + (1 - FIRST_DECAY) * gradient
        square = torch.zeros_like(second).index_add_(0, crystal, gradient.square().sum(1)) / counts
        second = SECOND_DECAY * second + (1 - SECOND_DECAY) * square
        scale = (second / (1 - SECOND_DECAY ** (step + 1))).sqrt() + SMALLEST_SCALE
        rate = settings.step_ang * 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        position = position - rate / (1 - FIRST_DECAY ** (step + 1)) * first / scale[crystal][:, None]
    return position


def _descend_compiled(
    constraints: Constraints, graph: GraphTensors, position: Tensor, start: Tensor, settings: SolverSettings
) -> None:
    """The same on a CPU, in place, one crystal after the other: each one's numbers stay in the cache."""
    c = constraints
    counts = torch.bincount(graph.crystal)
    starts = np.concatenate([[0], counts.cumsum(0).numpy()])
    # Pairs are sorted by crystal: each has n (n - 1).
    pairs = np.concatenate([[0], (counts * (counts - 1)).cumsum(0).numpy()])
    _descend(
        position.numpy(),
        start.numpy(),
        starts,
        graph.first_edge.numpy()[starts],
        pairs,
        c.centre.numpy(),
        c.neighbour.numpy(),
        c.shift_ang.numpy(),
        c.edge_bounds.numpy(),
        c.edge_weight.numpy(),
        c.pair_centre.numpy(),
        c.pair_neighbour.numpy(),
        c.pair_bounds.numpy(),
        c.pair_weight.numpy(),
        settings.steps,
        settings.step_ang,
    )


@dataclass(frozen=True, eq=False)
class Constraints:
    """Bounds of edges and pairs of a batch, each weighed by one over their number in the crystal."""

    centre: Tensor
    neighbour: Tensor
    shift_ang: Tensor
    edge_bounds: Tensor
    edge_weight: Tensor
    pair_centre: Tensor
    pair_neighbour: Tensor
    pair_bounds: Tensor
    pair_weight: Tensor

    @classmethod
    def of(cls, graph: GraphTensors, shift_ang: Tensor, distances: Distances, bound: float) -> Constraints:
        """Bounds (equations 18 and 19) of a batch; shift_ang: (e, 3), of the cell that an edge's end lies in."""
        n = len(graph.lattice_ang)
        weights = []
        for centre in (graph.centre, graph.pair_centre):
            crystal = graph.crystal[centre]
            # A constraint binds two atoms, and sums of forces on an atom are to be independent of how many atoms there are.
            atoms = torch.bincount(graph.crystal, minlength=n)
            weights.append((atoms / torch.bincount(crystal, minlength=n).clamp(min=1))[crystal].double())
        bounds = []
        for distance, scale in (
            (distances.edge_ang, distances.edge_scale_ang),
            (distances.pair_ang, distances.pair_scale_ang),
        ):
            lower, upper = (distance - bound * scale).clamp(min=0), distance + bound * scale
            bounds.append(torch.stack([lower, upper], 1).double())
        return cls(
            graph.centre,
            graph.neighbour,
            shift_ang,
            bounds[0],
            weights[0],
            graph.pair_centre,
            graph.pair_neighbour,
            bounds[1],
            weights[1],
        )

    def gradient_by_tensors(self, position: Tensor, start: Tensor) -> Tensor:
        """Gradient (n, 3) of the bounded loss (equation 20) at positions (n, 3); start: unrelaxed places, for the pairs."""
        edge = position[self.neighbour] + self.shift_ang - position[self.centre]
        pull = _pull(edge, self.edge_bounds, self.edge_weight)
        result = torch.zeros_like(position).index_add_(0, self.neighbour, pull)
        result.index_add_(0, self.centre, -pull)
        pair = position[self.pair_neighbour] - start[self.pair_centre]
        return result.index_add_(0, self.pair_neighbour, _pull(pair, self.pair_bounds, self.pair_weight))

    def loss(self, position: Tensor, start: Tensor) -> Tensor:
        """The bounded loss itself, summed over crystals."""
        edge = (position[self.neighbour] + self.shift_ang - position[self.centre]).norm(dim=1)
        pair = (position[self.pair_neighbour] - start[self.pair_centre]).norm(dim=1)
        parts = (edge, self.edge_bounds, self.edge_weight), (pair, self.pair_bounds, self.pair_weight)
        return sum(
            ((w * ((d - b[:, 1]).clamp(min=0) + (b[:, 0] - d).clamp(min=0))).sum() for d, b, w in parts),
            start=torch.zeros((), dtype=position.dtype, device=position.device),
        )


def _pull(vectors: Tensor, bounds: Tensor, weight: Tensor) -> Tensor:
    length = vectors.norm(dim=1)
    sign = (length > bounds[:, 1]).double() - (length < bounds[:, 0]).double()
    return (sign * weight / length.clamp(min=1e-9))[:, None] * vectors


@njit(cache=True, fastmath=True)
def _descend(
    position, start, starts, first_edge, first_pair, centre, neighbour, shift, bounds, weight,
    pair_centre, pair_neighbour, pair_bounds, pair_weight, steps, step_ang,
):  # fmt: skip
    first, gradient = np.zeros_like(position), np.empty_like(position)
    for b in range(len(starts) - 1):
        atoms = slice(starts[b], starts[b + 1])
        edges, pairs = slice(first_edge[b], first_edge[b + 1]), slice(first_pair[b], first_pair[b + 1])
        n = starts[b + 1] - starts[b]
        edge = centre[edges], neighbour[edges], shift[edges], bounds[edges], weight[edges]
        pair = pair_centre[pairs], pair_neighbour[pairs], pair_bounds[pairs], pair_weight[pairs]
        second = 0.0
        for step in range(steps):
            gradient[atoms] = 0.0
            _edge_gradient(position, *edge, gradient)
            _pair_gradient(position, start, *pair, gradient)
            square = 0.0
            for i in range(starts[b], starts[b + 1]):
                for k in range(3):
                    first[i, k] = FIRST_DECAY * first[i, k] + (1 - FIRST_DECAY) * gradient[i, k]
                    square += gradient[i, k] * gradient[i, k]
            second = SECOND_DECAY * second + (1 - SECOND_DECAY) * square / n
            scale = np.sqrt(second / (1 - SECOND_DECAY ** (step + 1))) + SMALLEST_SCALE
            rate = step_ang * 0.5 * (1 + np.cos(np.pi * step / steps)) / (1 - FIRST_DECAY ** (step + 1))
            for i in range(starts[b], starts[b + 1]):
                for k in range(3):
                    position[i, k] -= rate / scale * first[i, k]


@njit(cache=True, fastmath=True)
def _strength(square, bounds, weight):
    """Pull on an atom a length: inwards above the upper bound, outwards below the lower one, 0 between."""
    if square > bounds[1] * bounds[1]:
        return weight / max(np.sqrt(square), 1e-9)
    if square < bounds[0] * bounds[0]:
        return -weight / max(np.sqrt(square), 1e-9)
    return 0.0


@njit(cache=True, fastmath=True)
def _edge_gradient(position, centre, neighbour, shift, bounds, weight, result):
    for e in range(len(centre)):
        i, j = centre[e], neighbour[e]
        x = position[j, 0] + shift[e, 0] - position[i, 0]
        y = position[j, 1] + shift[e, 1] - position[i, 1]
        z = position[j, 2] + shift[e, 2] - position[i, 2]
        pull = _strength(x * x + y * y + z * z, bounds[e], weight[e])
        if pull == 0.0:
            continue
        result[j, 0] += pull * x
        result[j, 1] += pull * y
        result[j, 2] += pull * z
        result[i, 0] -= pull * x
        result[i, 1] -= pull * y
        result[i, 2] -= pull * z


@njit(cache=True, fastmath=True)
def _pair_gradient(position, start, centre, neighbour, bounds, weight, result):
    for e in range(len(centre)):
        i, j = centre[e], neighbour[e]
        x = position[j, 0] - start[i, 0]
        y = position[j, 1] - start[i, 1]
        z = position[j, 2] - start[i, 2]
        pull = _strength(x * x + y * y + z * z, bounds[e], weight[e])
        if pull == 0.0:
            continue
        result[j, 0] += pull * x
        result[j, 1] += pull * y
        result[j, 2] += pull * z
