"""Trains the cell network, on what the trained label network takes for alike: fast, because that is worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mapcsp.symmetry.cell_network import CellNetwork, CellShape, PredictedCells
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.network import SymmetryNetwork
from mapcsp.symmetry.prior import example_priors, memory_priors
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.split import is_held_out
from mapcsp.training.symmetry.train_labels import (
    TrainingClass,
    append_curve,
    is_known_material,
    prepare_classes,
)

# Errors of ln(volume) and of the shape before the network corrects them: about this much.
TYPICAL_ERROR = 0.05

CURVE_COLUMNS = ("epoch", "loss", "volume_mre_held_out", "shape_error_held_out")


@dataclass(frozen=True)
class CellTraining:
    """Settings of a training run. batch: crystals an optimiser step. epochs: passes over the crystals."""

    epochs: int = 14
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 2e-2
    seed: int = 1
    max_atoms: int = 24


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Crystals of one stoichiometry: network inputs, and their true cells (q, 1 + N_SHAPE)."""

    amounts: torch.Tensor
    numbers: torch.Tensor
    roles: torch.Tensor
    labels: torch.Tensor
    prior: torch.Tensor
    truth: torch.Tensor
    weight: torch.Tensor


@torch.inference_mode()
def _pairs(network: SymmetryNetwork, group: TrainingClass, priors: torch.Tensor) -> _Pairs | None:
    """Inputs of the cell network, each crystal's own formula hidden; None if no label has another crystal."""
    kept, prior = [], []
    for first in range(0, len(group.target), 32):
        part = slice(first, first + 32)
        scores = network.score(group.numbers[part], group.amounts, group.known, group.formula[part])
        target = group.target[part]
        usable = torch.isfinite(scores.logits[torch.arange(len(target)), target])
        kept.append(first + usable.nonzero()[:, 0])
        prior.append(example_priors(scores.support[usable], group.known, target[usable], priors))
    rows = torch.cat(kept)
    if not len(rows):
        return None
    target = group.target[rows]
    return _Pairs(
        group.amounts,
        group.numbers[rows],
        network.vectors.roles(group.known.role[target]),
        network.vectors.labels(group.known.label[target]),
        torch.cat(prior),
        group.cell_target[rows],
        group.weight[rows],
    )


def _loss(cells: PredictedCells, pairs: _Pairs, rows: torch.Tensor) -> torch.Tensor:
    """Absolute errors of volume and shape, and the Laplace likelihood of their spreads given those errors, summed.

    The likelihood alone would weigh an error by 1 / spread: rigid shapes, with spreads near 0, would drown the volume.
    """
    volume = (cells.log_volume - pairs.truth[rows, 0]).abs()
    shape = (cells.shape - pairs.truth[rows, 1:]).abs().mean(1)
    spreads = volume.detach() / cells.log_volume_spread + cells.log_volume_spread.log()
    spreads = spreads + shape.detach() / cells.shape_spread + cells.shape_spread.log()
    return ((volume / TYPICAL_ERROR + shape / TYPICAL_ERROR + 0.1 * spreads) * pairs.weight[rows]).sum()


def _forward(network: CellNetwork, pairs: _Pairs, rows: torch.Tensor) -> PredictedCells:
    return network(
        pairs.numbers[rows], pairs.amounts, pairs.roles[rows], pairs.labels[rows], pairs.prior[rows]
    )


@torch.inference_mode()
def _judge(network: CellNetwork, judged: Sequence[_Pairs]) -> tuple[float, float]:
    network.eval()
    volume, shape = [], []
    for pairs in judged:
        cells = _forward(network, pairs, torch.arange(len(pairs.labels)))
        volume.append(torch.expm1(cells.log_volume - pairs.truth[:, 0]).abs())
        shape.append((cells.shape - pairs.truth[:, 1:]).abs().mean(1))
    return float(torch.cat(volume).mean()), float(torch.cat(shape).mean())


def train_cells(
    memory: LabelMemory,
    network: SymmetryNetwork,
    rows: Sequence[EncodedKnown],
    settings: CellTraining,
    curve: Path,
) -> CellNetwork:
    """Train the cell network; the epoch with the smallest volume and shape errors on held-out formulas is returned.

    curve: CSV of CURVE_COLUMNS, written anew. A killed run starts again: it takes minutes.
    """
    torch.manual_seed(settings.seed)
    network.eval()
    cells = CellNetwork(CellShape())
    # What ranking labels taught of elements and roles carries over: from scratch the volumes are 1.3 times worse.
    cells.encode.load_state_dict(network.encode.state_dict())
    priors = memory_priors(memory)
    held_out = [r for r in rows if is_held_out(r.formula) and is_known_material(r)]
    learned = [r for r in rows if not is_held_out(r.formula)]
    trained = [
        p for g in prepare_classes(memory, learned, settings.max_atoms) if (p := _pairs(network, g, priors))
    ]
    judged = [
        p for g in prepare_classes(memory, held_out, settings.max_atoms) if (p := _pairs(network, g, priors))
    ]
    optimiser = torch.optim.AdamW(
        cells.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    generator = np.random.default_rng(settings.seed)
    steps = sum(-(-len(p.labels) // settings.batch) for p in trained) * settings.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=max(steps + 1, 20), pct_start=0.1
    )
    best, best_state = np.inf, cells.state_dict()
    curve.unlink(missing_ok=True)
    for epoch in range(settings.epochs):
        cells.train()
        pieces = [
            (pairs, torch.as_tensor(chosen))
            for pairs in trained
            for chosen in np.array_split(
                generator.permutation(len(pairs.labels)), -(-len(pairs.labels) // settings.batch)
            )
        ]
        generator.shuffle(pieces)  # type: ignore[arg-type]
        total, seen = 0.0, 0
        for pairs, chosen in pieces:
            optimiser.zero_grad()
            loss = _loss(_forward(cells, pairs, chosen), pairs, chosen)
            # Small stoichiometries make small steps, so that their few crystals do not shake the rest.
            (loss / settings.batch).backward()
            nn.utils.clip_grad_norm_(cells.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total, seen = total + loss.item(), seen + len(chosen)
        volume, shape = _judge(cells, judged)
        append_curve(curve, CURVE_COLUMNS, epoch + 1, total / seen, volume, shape)
        if volume + shape < best:
            best, best_state = volume + shape, {k: v.clone() for k, v in cells.state_dict().items()}
    cells.load_state_dict(best_state)
    cells.eval()
    return cells
