"""Message passing of equations 4 and 5 in one pass over the edges, with its gradient.

On a CPU a compiled loop keeps each atom's sums in cache, where tensor operations would write e × F × 3 numbers several
times; on another device the same is done with tensor operations.
"""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor


def pass_messages(
    scalars: Tensor,
    vectors: Tensor,
    filters: Tensor,
    units: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    first_edge: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sum the messages that reach each atom.

    scalars: (n, 3F), of the sending atoms: parts for scalars (W_h x), vectors (W_u x) and directions (W_v x).
    vectors: (n, 3, F). filters: (e, 3F), γ of each edge, in the same parts. units: (e, 3), directions of the edges.
    centre, neighbour: (e,), receiving and sending atoms, sorted by centre; first_edge: (n + 1,).
    Returns m (n, F) and vector m (n, 3, F).
    """
    if scalars.device.type == "cpu":
        return _Messages.apply(scalars, vectors, filters, units, neighbour, first_edge)
    return messages_by_tensors(scalars, vectors, filters, units, centre, neighbour)


def messages_by_tensors(
    scalars: Tensor, vectors: Tensor, filters: Tensor, units: Tensor, centre: Tensor, neighbour: Tensor
) -> tuple[Tensor, Tensor]:
    """The same by tensor operations, for any device."""
    width = vectors.shape[2]
    sent = scalars[neighbour] * filters
    plain, along, direction = sent.split(width, dim=1)
    summed = torch.zeros(len(scalars), width, dtype=scalars.dtype, device=scalars.device)
    summed.index_add_(0, centre, plain)
    moved = along[:, None] * vectors[neighbour] + direction[:, None] * units[:, :, None]
    summed_vectors = torch.zeros_like(vectors)
    summed_vectors.index_add_(0, centre, moved)
    return summed, summed_vectors


class _Messages(torch.autograd.Function):
    """Compiled sums and their gradient; directions get none, since positions are inputs."""

    @staticmethod
    def forward(ctx, scalars, vectors, filters, units, neighbour, first_edge):  # noqa: D102
        scalars, vectors, filters = scalars.contiguous(), vectors.contiguous(), filters.contiguous()
        ctx.save_for_backward(scalars, vectors, filters, units, neighbour, first_edge)
        summed = torch.zeros(vectors.shape[0], vectors.shape[2], dtype=scalars.dtype)
        summed_vectors = torch.zeros_like(vectors)
        arrays = (scalars, vectors, filters, units, neighbour, first_edge, summed, summed_vectors)
        _forward(*(a.detach().numpy() for a in arrays))
        return summed, summed_vectors

    @staticmethod
    def backward(ctx, grad_summed, grad_vectors):  # noqa: D102
        scalars, vectors, filters, units, neighbour, first_edge = ctx.saved_tensors
        d_scalars, d_vectors = torch.zeros_like(scalars), torch.zeros_like(vectors)
        d_filters = torch.empty_like(filters)
        arrays = (
            scalars,
            vectors,
            filters,
            units,
            neighbour,
            first_edge,
            grad_summed.contiguous(),
            grad_vectors.contiguous(),
            d_scalars,
            d_vectors,
            d_filters,
        )
        _backward(*(a.detach().numpy() for a in arrays))
        return d_scalars, d_vectors, d_filters, None, None, None


@njit(cache=True, fastmath=True)
def _forward(scalars, vectors, filters, units, neighbour, first_edge, summed, summed_vectors):
    width = vectors.shape[2]
    for i in range(len(first_edge) - 1):
        total, total_x = summed[i], summed_vectors[i, 0]
        total_y, total_z = summed_vectors[i, 1], summed_vectors[i, 2]
        for e in range(first_edge[i], first_edge[i + 1]):
            j = neighbour[e]
            sent, passed = scalars[j], filters[e]
            vx, vy, vz = vectors[j, 0], vectors[j, 1], vectors[j, 2]
            ux, uy, uz = units[e, 0], units[e, 1], units[e, 2]
            for f in range(width):
                total[f] += sent[f] * passed[f]
                along = sent[width + f] * passed[width + f]
                direction = sent[2 * width + f] * passed[2 * width + f]
                total_x[f] += along * vx[f] + direction * ux
                total_y[f] += along * vy[f] + direction * uy
                total_z[f] += along * vz[f] + direction * uz


@njit(cache=True, fastmath=True)
def _backward(
    scalars,
    vectors,
    filters,
    units,
    neighbour,
    first_edge,
    grad_summed,
    grad_vectors,
    d_scalars,
    d_vectors,
    d_filters,
):
    width = vectors.shape[2]
    for i in range(len(first_edge) - 1):
        g = grad_summed[i]
        gx, gy, gz = grad_vectors[i, 0], grad_vectors[i, 1], grad_vectors[i, 2]
        for e in range(first_edge[i], first_edge[i + 1]):
            j = neighbour[e]
            sent, passed, to_sent, to_passed = scalars[j], filters[e], d_scalars[j], d_filters[e]
            vx, vy, vz = vectors[j, 0], vectors[j, 1], vectors[j, 2]
            to_x, to_y, to_z = d_vectors[j, 0], d_vectors[j, 1], d_vectors[j, 2]
            ux, uy, uz = units[e, 0], units[e, 1], units[e, 2]
            for f in range(width):
                to_passed[f] = g[f] * sent[f]
                to_sent[f] += g[f] * passed[f]
                along = gx[f] * vx[f] + gy[f] * vy[f] + gz[f] * vz[f]
                weight = sent[width + f] * passed[width + f]
                to_x[f] += gx[f] * weight
                to_y[f] += gy[f] * weight
                to_z[f] += gz[f] * weight
                to_passed[width + f] = along * sent[width + f]
                to_sent[width + f] += along * passed[width + f]
                direction = gx[f] * ux + gy[f] * uy + gz[f] * uz
                to_passed[2 * width + f] = direction * sent[2 * width + f]
                to_sent[2 * width + f] += direction * passed[2 * width + f]


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """values[index] along the first axis, (n, F) to (e, F), with a gradient that is fast on a CPU."""
    return _Gather.apply(values, index) if values.device.type == "cpu" else values[index]


def sum_rows(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Sum rows (e, F) into (n, F) by index, with a gradient that is fast on a CPU."""
    if values.device.type == "cpu":
        return _Sum.apply(values, index, n)
    return torch.zeros(n, values.shape[1], dtype=values.dtype, device=values.device).index_add(
        0, index, values
    )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, index):  # noqa: D102
        ctx.save_for_backward(index)
        ctx.n = len(values)
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx, gradient):  # noqa: D102
        (index,) = ctx.saved_tensors
        return _sum(gradient, index, ctx.n), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, index, n):  # noqa: D102
        ctx.save_for_backward(index)
        return _sum(values, index, n)

    @staticmethod
    def backward(ctx, gradient):  # noqa: D102
        (index,) = ctx.saved_tensors
        return gradient.index_select(0, index), None, None


def _sum(values: Tensor, index: Tensor, n: int) -> Tensor:
    total = torch.zeros(n, values.shape[1], dtype=values.dtype)
    _add_rows(values.detach().contiguous().numpy(), index.numpy(), total.numpy())
    return total


@njit(cache=True, fastmath=True)
def _add_rows(values, index, total):
    for e in range(len(index)):
        target = total[index[e]]
        for f in range(values.shape[1]):
            target[f] += values[e, f]
