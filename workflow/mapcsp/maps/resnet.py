"""The residual network of AlphaCrystal and AlphaCrystal-II, configurable: contact maps, or distances in groups.

Sources: AlphaCrystal (contact map predictor, figure 2), AlphaCrystal-II (section 2.3, figure 2). Departures: padding is
masked out of convolutions and batch statistics, the map is made symmetric by averaging it with its transpose, and
features are scaled to mean 0 and spread 1 over the elements (the papers leave all three open).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mapcsp.elements import element_table, feature_names

N_FEATURES = len(feature_names())


@dataclass(frozen=True)
class ResnetConfig:
    """Sizes of the network; the defaults are the papers'.

    n_blocks: of each module. width_1d, width_2d: filters of the first blocks, doubled every `double_every` blocks.
    n_outputs: 1 for the log-odds of a contact, else the number of distance groups. kernel: of the convolutions.
    dropout: share of activations inside the blocks that training leaves out; the papers name none.
    """

    n_outputs: int
    n_blocks: int = 9
    width_1d: int = 32
    width_2d: int = 256
    double_every: int = 3
    kernel: int = 3
    dropout: float = 0.0

    def widths(self, first: int) -> list[int]:
        """Filters of each block."""
        return [first * 2 ** (i // self.double_every) for i in range(self.n_blocks)]


class MaskedBatchNorm(nn.Module):
    """Batch normalisation whose statistics leave padding out."""

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, width: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """x: (b, c, …); mask: (b, 1, …) of zeros and ones, or None where nothing is padded."""
        if mask is None:
            return nn.functional.batch_norm(
                x, self.mean, self.variance, self.scale, self.shift, self.training, self.momentum
            )
        shape = (1, -1, *[1] * (x.dim() - 2))
        if self.training:
            axes = (0, *range(2, x.dim()))
            count = mask.sum().clamp(min=1)
            mean = (x * mask).sum(axes) / count
            variance = ((x - mean.view(shape)) ** 2 * mask).sum(axes) / count
            with torch.no_grad():
                self.mean.lerp_(mean.detach(), self.momentum)
                self.variance.lerp_(variance.detach() * count / (count - 1).clamp(min=1), self.momentum)
        else:
            mean, variance = self.mean, self.variance
        scale = self.scale / (variance + 1e-5).sqrt()
        return (x - mean.view(shape)) * scale.view(shape) + self.shift.view(shape)


class ResidualBlock(nn.Module):
    """max(F(x) + x, 0), F: convolution, batch normalisation, ReLU, convolution (AlphaCrystal, figure 2, right)."""

    def __init__(self, n_dims: int, width_in: int, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        convolution = nn.Conv1d if n_dims == 1 else nn.Conv2d
        self.first = convolution(width_in, width, kernel, padding=kernel // 2, bias=False)
        self.norm = MaskedBatchNorm(width)
        self.second = convolution(width, width, kernel, padding=kernel // 2)
        self.skip = convolution(width_in, width, 1) if width_in != width else None

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """x: (b, c, …), zero at padding. Returns (b, width, …), zero at padding."""
        inner = nn.functional.relu(self.norm(self.first(x), mask))
        inner = nn.functional.dropout(inner, self.dropout, self.training)
        inner = inner if mask is None else inner * mask
        out = nn.functional.relu(self.second(inner) + (x if self.skip is None else self.skip(x)))
        return out if mask is None else out * mask


class ResidualNetwork(nn.Module):
    """Maps from the 11 features of each atom, in the order of the rows."""

    offset: torch.Tensor
    spread: torch.Tensor

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__()
        self.config = config
        table = torch.tensor(element_table().features)
        self.register_buffer("offset", table.mean(0).float(), persistent=False)
        self.register_buffer("spread", table.std(0, correction=0).float(), persistent=False)
        widths_1d, widths_2d = config.widths(config.width_1d), config.widths(config.width_2d)
        self.blocks_1d = nn.ModuleList(
            ResidualBlock(1, before, width, config.kernel, config.dropout)
            for before, width in zip([N_FEATURES, *widths_1d], widths_1d)
        )
        # Outer product and concatenation of both atoms' features: L x L x 3n (AlphaCrystal, n = 128).
        self.blocks_2d = nn.ModuleList(
            ResidualBlock(2, before, width, config.kernel, config.dropout)
            for before, width in zip([3 * widths_1d[-1], *widths_2d], widths_2d)
        )
        self.head = nn.Conv2d(widths_2d[-1], config.n_outputs, 1)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Predict a map.

        features: (b, L, 11), raw units. mask: (b, L), True at atoms, or None where nothing is padded.
        Returns (b, L, L, n_outputs), symmetric logits; entries of padding mean nothing.
        """
        x = ((features - self.offset) / self.spread).transpose(1, 2)
        mask_1d = None if mask is None else mask[:, None].to(x.dtype)
        mask_2d = None if mask_1d is None else (mask_1d[..., None] * mask_1d[..., None, :])
        x = x if mask_1d is None else x * mask_1d
        for block in self.blocks_1d:
            x = block(x, mask_1d)
        n = x.shape[-1]
        rows, columns = x[..., None].expand(-1, -1, -1, n), x[..., None, :].expand(-1, -1, n, -1)
        pairs = torch.cat([rows * columns, rows, columns], 1)
        pairs = pairs if mask_2d is None else pairs * mask_2d
        for block in self.blocks_2d:
            pairs = block(pairs, mask_2d)
        logits = self.head(pairs).permute(0, 2, 3, 1)
        return (logits + logits.transpose(1, 2)) / 2
