"""Trains one perceptron of CRYSPNet (Appendix D, H, I) and folds it into the plain layers that predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mapcsp.cryspnet.networks import Perceptron


@dataclass(frozen=True)
class CryspNetTraining:
    """Settings of the training.

    hidden_bravais, hidden: width of the four hidden layers of the network for Bravais lattices of all compounds, and of
    all others. The paper's widths are lost with its figure A2; its code has 256 everywhere. Here 14 + 14 networks of a few
    thousand crystals each are narrower, so that all weights fit into 10 MB.
    epochs: its code's cycle of 10. min_steps: small data sets go round more often than that: "trained until the validation
    error converged".
    batch: the paper's; cell networks take a sixteenth of their crystals where that is less, at least least_batch.
    members_*: networks that vote. sample_share: each member sees this share of the crystals, drawn at random.
    """

    hidden_bravais: int = 256
    hidden: int = 128
    hidden_groups: int = 64
    layers: int = 4
    dropout: float = 0.1
    batch: int = 256
    least_batch: int = 64
    lr: float = 1e-2
    weight_decay: float = 1e-2
    epochs: int = 10
    epochs_cell: int = 20
    min_steps: int = 300
    members_bravais: int = 5
    members_groups: int = 3
    members_cell: int = 2
    sample_share: float = 0.9
    oversample_bravais: int = 400
    oversample_groups: int = 100
    seed: int = 1


class TrainedPerceptron(nn.Module):
    """Linear, ReLU, batch norm, dropout, four times; then linear and batch norm (the code's `bn_final`).

    Departure: no dropout on the first hidden layer's output, as in its code, and none on the outputs, where its code has
    .1: a dropped logit makes a wrong class likely for no reason.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, settings: CryspNetTraining) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * settings.layers, outputs]
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in zip(sizes, sizes[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in sizes[1:])
        self.dropouts = nn.ModuleList(
            nn.Dropout(0.0 if i == 0 else settings.dropout) for i in range(settings.layers)
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, inputs) to (n, outputs), before softmax or sigmoid."""
        values = inputs
        for linear, norm, dropout in zip(self.linears, self.norms, self.dropouts):
            values = dropout(norm(torch.relu(linear(values))))
        return self.norms[-1](self.linears[-1](values))

    def folded(self) -> Perceptron:
        """The same function in evaluation, without norms and dropouts."""
        weights, biases = [], []
        scale: torch.Tensor | None = None
        shift: torch.Tensor | None = None
        for index, (linear, norm) in enumerate(zip(self.linears, self.norms)):
            assert isinstance(linear, nn.Linear)
            weight = linear.weight.detach()
            bias = torch.zeros(len(weight)) if shift is None else weight @ shift
            weight = weight if scale is None else weight * scale
            scale, shift = _affine(norm)
            if index == len(self.linears) - 1:
                # The last norm acts on the outputs themselves; the others on the next layer's inputs.
                weight, bias = weight * scale[:, None], bias * scale + shift
            weights.append(weight.numpy().copy())
            biases.append(bias.numpy().copy())
        return Perceptron(tuple(weights), tuple(biases))


def _affine(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_var is not None and norm.running_mean is not None
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    return scale, (norm.bias - norm.running_mean * scale).detach()


@dataclass(frozen=True, eq=False)
class Problem:
    """What one network learns.

    inputs: (n, features), standardised. targets: (n,) class indices, or (n, k) standardised logs of cell parameters.
    low, high: (k,), range of the parameters, None for classes. order: (m,), indices of an epoch, with repeats.
    """

    inputs: np.ndarray
    targets: np.ndarray
    outputs: int
    order: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def train_perceptron(
    problem: Problem, hidden: int, epochs: int, seed: int, settings: CryspNetTraining
) -> Perceptron:
    """Train by Adam with one cycle of learning rate and momentum; cross-entropy, or Log-MSE for cell parameters.

    Log-MSE is taken of logs standardised over the training crystals, as the paper's values (.1 to .8 at R² of .8 to .2)
    and its code have it.
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    inputs = torch.from_numpy(np.ascontiguousarray(problem.inputs, dtype=np.float32))
    is_cell = problem.low is not None
    targets = torch.from_numpy(problem.targets.astype(np.float32 if is_cell else np.int64))
    batch = min(settings.batch, max(2, len(problem.order)))
    if is_cell:
        # Departure: 256 of few crystals is the whole set, and batch norm then carries over badly to others. On the training
        # formulas kept back, Log-MSE fell from 3.2 to .46 for cI and from 1.01 to .84 for aP.
        batch = min(batch, max(settings.least_batch, len(problem.order) // 16))
    n_batches = max(1, len(problem.order) // batch)
    epochs = max(epochs, -(-settings.min_steps // n_batches))
    network = TrainedPerceptron(inputs.shape[1], problem.outputs, hidden, settings)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    # Half of the cycle up, half down (Appendix I).
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        settings.lr,
        total_steps=epochs * n_batches,
        pct_start=0.5,
        div_factor=25,
        final_div_factor=1e4,
    )
    if is_cell:
        low = torch.from_numpy(np.asarray(problem.low, dtype=np.float32))
        span = torch.from_numpy(np.asarray(problem.high, dtype=np.float32)) - low
    network.train()
    for _ in range(epochs):
        shuffled = torch.from_numpy(generator.permutation(problem.order))
        for start in range(0, n_batches * batch, batch):
            picked = shuffled[start : start + batch]
            outputs = network(inputs[picked])
            if is_cell:
                loss = ((low + span * torch.sigmoid(outputs) - targets[picked]) ** 2).mean()
            else:
                loss = nn.functional.cross_entropy(outputs, targets[picked])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            cycle.step()
    network.eval()
    return network.folded()
