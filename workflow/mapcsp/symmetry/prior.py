"""The cell that alike examples suggest for a label, before the network corrects it."""

from __future__ import annotations

import numpy as np
import torch

from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.network import ClassTensors


def example_priors(
    support: torch.Tensor, known: ClassTensors, candidate: torch.Tensor, example_cells: torch.Tensor
) -> torch.Tensor:
    """Average the examples' cells by how alike their elements are.

    support: (p, e), weight of each example row. candidate: (p,), the candidate of each pair.
    example_cells: (m, d), per example of the memory. Returns (p, d).
    """
    mine = (known.example_candidate[None] == candidate[:, None]).to(support.dtype)
    weights = (support + 1e-6) * mine * (support > 0)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-30)
    return weights @ example_cells[known.example_index]


def candidate_priors(support: torch.Tensor, known: ClassTensors, example_cells: torch.Tensor) -> torch.Tensor:
    """`example_priors` of one formula for every candidate at once, up to the order of sums.

    support: (e,), weight of each example row. example_cells: (m, d). Returns (c, d), 0 without an example.
    """
    weights = (support + 1e-6) * (support > 0)
    total = torch.zeros(len(known.label)).index_add(0, known.example_candidate, weights)
    share = weights / total.clamp_min(1e-30)[known.example_candidate]
    averages = torch.zeros(len(known.label), example_cells.shape[1])
    return averages.index_add(0, known.example_candidate, share[:, None] * example_cells[known.example_index])


def memory_priors(memory: LabelMemory) -> torch.Tensor:
    """Cell of each example as the network's prior sees it: (m, 1 + N_SHAPE), from its geometry's centre."""
    shape = memory.mode_shape[memory.example_mode]
    volume = memory.mode_log_volume[memory.example_mode].astype(float)[:, None]
    return torch.as_tensor(np.concatenate([volume, shape], 1), dtype=torch.float32)
