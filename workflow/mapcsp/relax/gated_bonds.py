"""M3GNet's gated perceptron over bonds, with its gradient by hand: most of a relaxation's time goes here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from mapcsp.relax import bond_kernels

SIDES = ("pipe", "gate")


def dense_weights(weights: dict[str, Tensor], prefix: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a dense layer."""
    return weights[prefix + "kernel"], weights[prefix + "bias"]


class EdgeGate:
    """A gated two-layer perceptron on (centre, neighbour, bond); the atoms' share of layer one is taken per atom."""

    def __init__(self, weights: dict[str, Tensor], prefix: str) -> None:
        first = [dense_weights(weights, f"{prefix}{side}.layers.0.") for side in SIDES]
        kernel = torch.cat([k for k, _ in first], dim=1)
        self.width = kernel.shape[0] // 3
        self.centre, self.neighbour, self.bond = (part.contiguous() for part in kernel.split(self.width))
        self.bias = torch.cat([b for _, b in first])
        self.pipe, self.gate = (dense_weights(weights, f"{prefix}{side}.layers.1.") for side in SIDES)
        self.second_bias = torch.cat([self.pipe[1], self.gate[1]])

    def __call__(
        self, atoms: Tensor, bonds: Tensor, scale: Tensor, centres: Tensor, neighbours: Tensor
    ) -> Tensor:
        """Evaluate on every bond; scale: (e, width), what the result is multiplied with. Returns (e, width)."""
        function = _Plain if bonds.is_cuda else _Compiled
        return function.apply(atoms, bonds, scale, centres, neighbours, self)


class _Compiled(torch.autograd.Function):
    """On a CPU: matrix products by torch, everything between them in one compiled pass each."""

    @staticmethod
    def forward(
        ctx: Any,
        atoms: Tensor,
        bonds: Tensor,
        scale: Tensor,
        centres: Tensor,
        neighbours: Tensor,
        net: EdgeGate,
    ) -> Tensor:
        active = bonds @ net.bond
        slope = torch.empty_like(active)
        bond_kernels.activate(
            active.numpy(),
            torch.addmm(net.bias, atoms, net.centre).numpy(),
            (atoms @ net.neighbour).numpy(),
            centres.numpy(),
            neighbours.numpy(),
            slope.numpy(),
        )
        second = _halves(active, net.pipe[0], net.gate[0])
        value, scaled = torch.empty_like(scale), torch.empty_like(scale)
        bond_kernels.gate(
            second.numpy(), net.second_bias.numpy(), scale.numpy(), value.numpy(), scaled.numpy()
        )
        ctx.save_for_backward(slope, second, value, scale, centres, neighbours)
        ctx.net, ctx.n_atoms = net, len(atoms)
        return scaled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, second, value, scale, centres, neighbours = ctx.saved_tensors
        net, gradient = ctx.net, gradients[0].contiguous()
        to_scale, to_second = torch.empty_like(scale), torch.empty_like(second)
        bond_kernels.gate_gradient(
            gradient.numpy(),
            value.numpy(),
            scale.numpy(),
            second.numpy(),
            to_scale.numpy(),
            to_second.numpy(),
        )
        to_hidden = _halves(to_second, net.pipe[0].t(), net.gate[0].t())
        to_atoms = None
        if ctx.needs_input_grad[0]:  # not in the first block, whose atoms are embeddings
            by_centre = torch.zeros(ctx.n_atoms, to_hidden.shape[1])
            by_neighbour = torch.zeros_like(by_centre)
            bond_kernels.activate_gradient(
                to_hidden.numpy(),
                slope.numpy(),
                centres.numpy(),
                neighbours.numpy(),
                by_centre.numpy(),
                by_neighbour.numpy(),
            )
            to_atoms = by_centre @ net.centre.t() + by_neighbour @ net.neighbour.t()
        else:
            to_hidden *= slope
        return to_atoms, to_hidden @ net.bond.t(), to_scale, None, None, None


def _halves(both: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The left columns through one matrix and the right ones through another: (e, 2 w) to (e, 2 w)."""
    width, out = both.shape[1] // 2, torch.empty_like(both)
    torch.mm(both[:, :width], left, out=out[:, :width])
    torch.mm(both[:, width:], right, out=out[:, width:])
    return out


class _Plain(torch.autograd.Function):
    """The same in torch alone, for a GPU; a third faster than autograd's own gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        atoms: Tensor,
        bonds: Tensor,
        scale: Tensor,
        centres: Tensor,
        neighbours: Tensor,
        net: EdgeGate,
    ) -> Tensor:
        hidden = torch.addmm(net.bias, bonds, net.bond)
        hidden += (atoms @ net.centre).index_select(0, centres)
        hidden += (atoms @ net.neighbour).index_select(0, neighbours)
        active = silu(hidden)
        linear = torch.addmm(net.pipe[1], active[:, : net.width], net.pipe[0])
        gate = torch.addmm(net.gate[1], active[:, net.width :], net.gate[0]).sigmoid_()
        value = silu(linear).mul_(gate)
        ctx.save_for_backward(hidden, linear, gate, value, scale, centres, neighbours)
        ctx.net, ctx.n_atoms = net, len(atoms)
        return value * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, linear, gate, value, scale, centres, neighbours = ctx.saved_tensors
        net, (gradient,) = ctx.net, gradients
        to_scale = gradient * value
        # The derivative of v s(q) by q is v s (1 - s), and v s is `value`, so that of the scaled product is this:
        to_gate = (1 - gate).mul_(to_scale).mul_(scale)
        to_linear = torch.ops.aten.silu_backward(gate.mul(scale).mul_(gradient), linear)
        to_hidden = torch.empty_like(hidden)
        torch.mm(to_linear, net.pipe[0].t(), out=to_hidden[:, : net.width])
        torch.mm(to_gate, net.gate[0].t(), out=to_hidden[:, net.width :])
        to_hidden = torch.ops.aten.silu_backward(to_hidden, hidden)
        to_atoms = None
        if ctx.needs_input_grad[0]:  # not in the first block, whose atoms are embeddings
            by_centre = torch.zeros(ctx.n_atoms, hidden.shape[1], device=hidden.device)
            by_neighbour = torch.zeros_like(by_centre).index_add_(0, neighbours, to_hidden)
            by_centre.index_add_(0, centres, to_hidden)
            to_atoms = by_centre @ net.centre.t() + by_neighbour @ net.neighbour.t()
        return to_atoms, to_hidden @ net.bond.t(), to_scale, None, None, None
