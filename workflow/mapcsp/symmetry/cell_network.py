"""The network behind the cell of a label: it corrects what alike examples suggest (see `prior`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mapcsp.symmetry.encoders import FormulaEncoder

N_SHAPE = 5
"""Cell shape: ln(b/a), ln(c/a), cos alpha, cos beta, cos gamma."""


@dataclass(frozen=True)
class CellShape:
    """Sizes of the network. width: also of the label network, whose encoder it starts from and whose vectors it reads."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1


@dataclass(frozen=True, eq=False)
class PredictedCells:
    """Cells of (formula, label) pairs, with their uncertainty.

    log_volume: (p,), ln(volume per atom / sum of elemental volumes). shape: (p, N_SHAPE). log_volume_spread,
    shape_spread: (p,), mean absolute deviations that the network expects.
    """

    log_volume: torch.Tensor
    shape: torch.Tensor
    log_volume_spread: torch.Tensor
    shape_spread: torch.Tensor


class CellNetwork(nn.Module):
    """Corrects the examples' mean cell, and says how sure it is."""

    def __init__(self, shape: CellShape) -> None:
        super().__init__()
        width = shape.width
        self.encode = FormulaEncoder(width, shape.layers, shape.heads, shape.dropout)
        self.slot = nn.Linear(width, width)
        self.correct = nn.Sequential(
            nn.Linear(3 * width + 1 + N_SHAPE, 2 * width),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Linear(width, N_SHAPE + 3),
        )
        last = self.correct[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, -2.5, *[0.0] * N_SHAPE, -3.0]))

    def forward(
        self,
        numbers: torch.Tensor,
        amounts: torch.Tensor,
        roles: torch.Tensor,
        labels: torch.Tensor,
        prior: torch.Tensor,
    ) -> PredictedCells:
        """Predict the cells of pairs of one stoichiometry.

        numbers: (p, s), atomic numbers, or (1, s) where all pairs are of one formula. amounts: (s,).
        roles: (p, s, w), labels: (p, w): the label network's vectors.
        prior: (p, 1 + N_SHAPE), mean of ln(volume ratio) and of the shape over alike examples.
        """
        context, slots = self.encode(numbers, amounts)
        placed = (self.slot(slots) * roles).mean(1)
        out = self.correct(torch.cat([context.expand(len(labels), -1), placed, labels, prior], -1))
        return PredictedCells(
            log_volume=out[:, 0] + prior[:, 0],
            shape=out[:, 2 : 2 + N_SHAPE] + prior[:, 1:],
            log_volume_spread=out[:, 1].clamp(-5, 1).exp(),
            shape_spread=out[:, -1].clamp(-6, 1).exp(),
        )
