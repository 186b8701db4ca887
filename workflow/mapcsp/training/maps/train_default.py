"""Trains the default map network (`mapcsp.maps.refiner`) on pairs of crystals with one label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mapcsp.elements import element_table
from mapcsp.maps.labels import BOND_TOLERANCE_ANG
from mapcsp.maps.refiner import MapRefiner, RefinerConfig, n_parameters
from mapcsp.training.loop import LoopConfig, Task, pick_device, seed_torch, train
from mapcsp.training.maps.pairs import MapTarget
from mapcsp.training.maps.samples import (
    PreparedTarget,
    SampleBatch,
    SampleConfig,
    deal_maps,
    draw_sample,
    prepare,
    size_batches,
    stack_samples,
)


@dataclass(frozen=True)
class RefinerTraining:
    """A training of the default network: its sizes, its loop, its samples, and batches of at most max_pairs map entries.

    scramble: deal maps out anew among crystals of equal atom counts first (y-scrambling).
    """

    network: RefinerConfig = RefinerConfig()
    loop: LoopConfig = LoopConfig(
        epochs=30,
        learning_rate=2e-3,
        optimiser="adamw",
        schedule="cosine",
        weight_decay=0.01,
        ema_decay=0.998,
        clip_norm=1.0,
    )
    samples: SampleConfig = SampleConfig()
    max_pairs: int = 4096
    max_crystals: int = 96
    scramble: bool = False


_SMALL = RefinerTraining()
PHASES: tuple[tuple[str, int, RefinerTraining], ...] = (
    ("small", 12, replace(_SMALL, loop=replace(_SMALL.loop, epochs=18))),
    ("all", 24, replace(_SMALL, loop=replace(_SMALL.loop, epochs=4, learning_rate=8e-4, warmup_steps=100))),
)
"""Phases of the default training: name, most atoms, settings. Each starts from the weights of the one before."""


@dataclass(frozen=True, eq=False)
class PairTerms:
    """The loss of a batch and what it consists of, (b,) each."""

    loss: torch.Tensor
    rmse_ang: torch.Tensor
    dice: torch.Tensor = field(repr=False)


def true_contacts(numbers: torch.Tensor, distance_ang: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Contacts by AlphaCrystal's rule on a batch (see `maps.labels.contact_map`): contacts and pairs that may
    bond, (b, n, n)."""
    table = element_table()
    radius = torch.tensor(table.features[:, 3], dtype=torch.float32, device=numbers.device)[numbers - 1]
    metal = torch.tensor(table.metal, device=numbers.device)[numbers - 1]
    other = ~torch.eye(numbers.shape[1], dtype=torch.bool, device=numbers.device)
    possible = ~(metal[:, :, None] & metal[:, None]) & other
    excess = (distance_ang - radius[:, :, None] - radius[:, None]).abs()
    return (excess <= BOND_TOLERANCE_ANG) & possible, possible


def pair_terms(model: nn.Module, batch: SampleBatch) -> PairTerms:
    """Loss of a batch: Laplace likelihood and error of distances, cross-entropy of contacts, each a mean over
    a crystal's pairs.

    The error enters beside the likelihood because the likelihood alone gives up on doubtful pairs.
    """
    out = model(batch.inputs)
    n = batch.distance_ang.shape[1]
    other = ~torch.eye(n, dtype=torch.bool, device=batch.distance_ang.device)
    n_pairs = max(n * (n - 1), 1)
    error = torch.where(other, out.distance_ang - batch.distance_ang, 0.0)
    likelihood = (
        torch.where(other, error.abs() * (-out.log_scale).exp() + out.log_scale, 0.0).sum((1, 2)) / n_pairs
    )
    rmse = ((error**2).sum((1, 2)) / n_pairs + 1e-6).sqrt()
    contacts, possible = true_contacts(batch.inputs.numbers, batch.distance_ang)
    entropy = nn.functional.binary_cross_entropy_with_logits(
        out.contact_logit, contacts.float(), reduction="none"
    )
    entropy = torch.where(possible, entropy, 0.0).sum((1, 2)) / possible.sum((1, 2)).clamp(min=1)
    guessed = (out.contact_logit > 0) & possible
    both = 2 * (guessed & contacts).sum((1, 2)).float()
    total = (guessed.sum((1, 2)) + contacts.sum((1, 2))).float()
    dice = torch.where(total > 0, both / total.clamp(min=1), 1.0)
    return PairTerms(0.3 * likelihood + 2.0 * rmse + entropy, rmse, dice)


def refiner_task(
    crystals: Sequence[PreparedTarget],
    held: Sequence[PreparedTarget],
    config: RefinerTraining,
    device: torch.device,
) -> Task:
    """Batches, loss and held-out figures of the default network; the samples drawn from held-out crystals are
    always the same."""
    sizes = [len(c.distance_ang) for c in crystals]

    def batches(epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng((config.loop.seed, epoch))
        return size_batches(sizes, config.max_pairs, config.max_crystals, rng)

    def load(members: np.ndarray, seed: int) -> SampleBatch:
        rng = np.random.default_rng(seed)
        return stack_samples([draw_sample(crystals[i], config.samples, rng) for i in members], device)

    held_sets = {
        "given": _held_batches(held, SampleConfig(p_no_seed=0, p_near=1, p_given=1), config, device),
        "noisy": _held_batches(held, SampleConfig(p_no_seed=0, p_near=1, p_given=0), config, device),
    }

    def evaluate(model: nn.Module) -> dict[str, float]:
        figures = {}
        for name, held_batches in held_sets.items():
            terms = [pair_terms(model, b) for b in held_batches]
            figures[f"held_loss_{name}"] = float(torch.cat([t.loss for t in terms]).mean())
            figures[f"held_rmse_ang_{name}"] = float(torch.cat([t.rmse_ang for t in terms]).mean())
            figures[f"held_dice_{name}"] = float(torch.cat([t.dice for t in terms]).mean())
        return figures

    return Task(batches, load, lambda model, batch: pair_terms(model, batch).loss.mean(), evaluate)


def _held_batches(
    held: Sequence[PreparedTarget], samples: SampleConfig, config: RefinerTraining, device: torch.device
) -> list[SampleBatch]:
    rng = np.random.default_rng(0)
    dealt = size_batches([len(c.distance_ang) for c in held], config.max_pairs, config.max_crystals, None)
    return [stack_samples([draw_sample(held[i], samples, rng) for i in members], device) for members in dealt]


def train_refiner(
    targets: Sequence[MapTarget],
    held: Sequence[MapTarget],
    config: RefinerTraining,
    folder: Path,
    keep_going: Callable[[], bool] | None = None,
    start: dict[str, torch.Tensor] | None = None,
) -> MapRefiner | None:
    """Train the default network; returns it, or None if keep_going ended the training early.

    held: crystals whose formulas are in no target. start: weights to begin from instead of random ones.
    Resumes from folder/checkpoint.safetensors; writes folder/curve.csv.
    """
    seed_torch(config.loop.seed)
    device = pick_device()
    model = MapRefiner(config.network)
    if start is not None:
        model.load_state_dict(start)
    model.to(device)
    crystals, held_crystals = (
        [prepare(t) for t in group if len(t.geometry().species) > 1] for group in (targets, held)
    )
    if config.scramble:
        crystals = deal_maps(crystals, config.loop.seed)
    print(
        f"{n_parameters(model)} parameters, {len(crystals)} crystals, {len(held_crystals)} held out, on {device}",
        flush=True,
    )
    task = refiner_task(crystals, held_crystals, config, device)
    return model if train(model, task, config.loop, folder, keep_going) else None
