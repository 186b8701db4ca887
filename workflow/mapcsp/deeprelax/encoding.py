"""Numbers of an edge: Gaussian radial functions of its length and the periodic encoding of its cell offset."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RadialFunctions(nn.Module):
    """λ of equations 4 and 5: Gaussians with equally spaced centres from 0 to `longest_ang`.

    The paper's code spreads them over 30 Å, of which edges of 6 Å use a fifth; here they span the edges.
    """

    centres: Tensor

    def __init__(self, number: int, longest_ang: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0.0, longest_ang, number), persistent=False)
        self.sharpness = 0.5 * ((number - 1) / longest_ang) ** 2

    def forward(self, length_ang: Tensor) -> Tensor:
        """(e,), Å, to (e, number)."""
        return torch.exp(-self.sharpness * (length_ang[:, None] - self.centres) ** 2)


def offset_index(offset: Tensor) -> Tensor:
    """K of section 4.3.1, 0 to 124, of cell offsets (e, 3).

    Offsets beyond ±2, which short lattice vectors allow within 6 Å, count as ±2, so that no two cells are mixed up.
    """
    k = offset.clamp(-2, 2) + 2
    return k[:, 0] + 5 * k[:, 1] + 25 * k[:, 2]


def offset_encoding(channels: int) -> Tensor:
    """Table (125, channels) of the sinusoidal encoding of K (equations 2 and 3)."""
    position = torch.arange(125, dtype=torch.float64)[:, None]
    even = torch.arange(0, channels, 2, dtype=torch.float64)
    angle = position / 10000 ** (even / channels)
    table = torch.zeros(125, channels, dtype=torch.float64)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle[:, : channels // 2])
    return table.float()
