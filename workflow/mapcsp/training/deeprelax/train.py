"""Training of DeepRelax's networks on pairs of unrelaxed and relaxed crystals; everything random comes from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mapcsp.deeprelax.graph import GraphSettings, crystal_numbers
from mapcsp.deeprelax.loss import LossSettings, Truth, relaxation_loss, truth_of
from mapcsp.deeprelax.model import input_graphs
from mapcsp.deeprelax.network import GraphTensors, NetworkConfig, PaEGNN
from mapcsp.deeprelax.pairs import RelaxPair
from mapcsp.provenance import derive_seed
from mapcsp.training.loop import LoopConfig, Task, pick_device, seed_torch, train


@dataclass(frozen=True)
class RelaxTraining:
    """Everything that decides a trained member besides its pairs.

    batch_atoms: most atoms in a batch.
    """

    network: NetworkConfig
    graph: GraphSettings
    loss: LossSettings
    loop: LoopConfig
    batch_atoms: int = 300


SHIPPED = RelaxTraining(
    NetworkConfig(),
    GraphSettings(),
    LossSettings(),
    LoopConfig(
        epochs=10,
        learning_rate=1.5e-3,
        optimiser="adamw",
        schedule="cosine",
        weight_decay=1e-3,
        ema_decay=0.995,
        clip_norm=5.0,
    ),
)
"""What `resources/models/deeprelax` was trained with, each member with a seed of its own."""

PAPER = RelaxTraining(
    NetworkConfig(width=512, layers=4, radial=128, offset_channels=128, vector_channels=128),
    GraphSettings(neighbours=50),
    LossSettings(lattice=1.0, step=1.0, distance=1.0),
    LoopConfig(epochs=400, learning_rate=1e-4, optimiser="adamw", ema_decay=0.999, clip_norm=150.0),
    batch_atoms=1000,
)
"""Sizes of the paper, for an accelerator; the learning rate stays constant, where the paper lowers it on a plateau."""


@dataclass(frozen=True, eq=False)
class PairArrays:
    """One pair as arrays: atomic numbers (n,), lattices (3, 3) and coordinates (n, 3), unrelaxed and relaxed."""

    numbers: np.ndarray
    lattice_ang: np.ndarray
    frac: np.ndarray
    relaxed_lattice_ang: np.ndarray
    relaxed_frac: np.ndarray


def pair_arrays(pairs: Sequence[RelaxPair]) -> list[PairArrays]:
    """Pairs as arrays."""
    return [
        PairArrays(
            crystal_numbers(p.initial),
            p.initial.lattice_ang,
            p.initial.frac_coords,
            p.lattice_ang,
            p.frac_coords,
        )
        for p in pairs
    ]


@dataclass(frozen=True, eq=False)
class PairBatch:
    """A batch as the network reads it, and its truth."""

    graph: GraphTensors
    truth: Truth


def load_batch(
    rows: Sequence[PairArrays],
    element_volume_ang3: np.ndarray,
    settings: GraphSettings,
    device: torch.device | str = "cpu",
) -> PairBatch:
    """Build the graphs of a batch."""
    lattice = np.array([r.lattice_ang for r in rows])
    graph = GraphTensors.of(
        input_graphs(
            [r.numbers for r in rows], lattice, [r.frac for r in rows], element_volume_ang3, settings
        ),
        device,
    )
    relaxed = torch.tensor(
        np.array([r.relaxed_lattice_ang for r in rows]), dtype=torch.float32, device=device
    )
    frac = torch.tensor(np.concatenate([r.relaxed_frac for r in rows]), dtype=torch.float32, device=device)
    return PairBatch(graph, truth_of(graph, relaxed, frac))


def epoch_batches(pairs: Sequence[RelaxPair], batch_atoms: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Batches (indices of pairs) of one epoch: one pair of each relaxed crystal, another one each epoch.

    Crystals are in random order.
    """
    by_crystal: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        by_crystal.setdefault(pair.id.partition("<")[0], []).append(index)
    rng = np.random.default_rng(derive_seed(seed, "epoch", epoch))
    chosen = np.array([own[(epoch + k) % len(own)] for k, own in enumerate(by_crystal.values())])
    chosen = rng.permutation(chosen)
    sizes = np.array([pairs[i].initial.n_atoms for i in chosen])
    ends = np.searchsorted(np.cumsum(sizes), np.arange(batch_atoms, sizes.sum(), batch_atoms), side="right")
    return [b for b in np.split(chosen, ends) if len(b)]


def train_member(
    pairs: Sequence[RelaxPair],
    held: Sequence[RelaxPair],
    element_volume_ang3: np.ndarray,
    training: RelaxTraining,
    folder: Path,
    keep_going: Callable[[], bool] | None = None,
    kind: type[PaEGNN] = PaEGNN,
) -> PaEGNN | None:
    """Train one network, from the folder's checkpoint if it has one of this training; None if it was stopped.

    held: pairs of held-out formulas for the curve. kind: PaEGNN, or another encoder under its heads. The same pairs and
    settings give the same weights, interrupted or not.
    """
    device = pick_device()
    seed_torch(training.loop.seed)
    network = kind(training.network, element_volume_ang3).to(device)
    arrays = pair_arrays(pairs)
    held_batches = [
        load_batch(part, element_volume_ang3, training.graph, device)
        for part in _chunks(pair_arrays(held), 64)
    ]

    def loss(model: nn.Module, batch: PairBatch) -> torch.Tensor:
        return relaxation_loss(model(batch.graph), batch.truth, training.network, training.loss)

    task = Task(
        lambda epoch: epoch_batches(pairs, training.batch_atoms, training.loop.seed, epoch),
        lambda indices, _: load_batch(
            [arrays[i] for i in indices], element_volume_ang3, training.graph, device
        ),
        loss,
        lambda model: curve_figures(model, held_batches),
    )
    return network if train(network, task, training.loop, folder, keep_going) else None


def _chunks(rows: list[PairArrays], size: int) -> list[list[PairArrays]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def curve_figures(model: nn.Module, batches: Sequence[PairBatch]) -> dict[str, float]:
    """Mean errors of the network's outputs on held-out pairs: lattice entries, edges and pairs (Å), volume (share)."""
    lattice, edge, pair, step, volume = [], [], [], [], []
    for batch in batches:
        predicted, truth = model(batch.graph), batch.truth
        lattice.append((predicted.lattice_ang - truth.lattice_ang).abs().mean((1, 2)))
        ratio = torch.det(predicted.lattice_ang.double()) / torch.det(truth.lattice_ang.double())
        volume.append((ratio - 1).abs())
        edge.append((predicted.edge_ang - truth.edge_ang).abs())
        pair.append((predicted.pair_ang - truth.pair_ang).abs())
        step.append((predicted.step_ang - truth.step_ang).abs().mean(1))
    names = ("lattice_mae_ang", "edge_mae_ang", "pair_mae_ang", "step_mae_ang", "volume_mre")
    return {n: float(torch.cat(v).mean()) for n, v in zip(names, (lattice, edge, pair, step, volume))}
