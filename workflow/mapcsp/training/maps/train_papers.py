"""Trains the network of AlphaCrystal and AlphaCrystal-II in one of their experiments (experiments.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mapcsp.elements import element_features, element_table
from mapcsp.maps.labels import DistanceGroups, bond_lengths_ang, can_bond
from mapcsp.maps.models import MapModel
from mapcsp.maps.resnet import ResidualNetwork, ResnetConfig
from mapcsp.training.loop import Task, pick_device, seed_torch, train
from mapcsp.training.maps.experiments import PaperExperiment, PaperTraining, draw, select
from mapcsp.training.maps.samples import size_batches
from mapcsp.training.maps.truth import MapTruth, scrambled

LENGTH_EDGES = np.concatenate([np.linspace(0.7, 1.3, 13), np.linspace(1.4, 2.4, 10)])
"""Edges of the groups of distances that a contact network may learn beside contacts, in sums of covalent radii."""


def fit_groups(truths: Sequence[MapTruth], n: int) -> DistanceGroups:
    """Groups over the range of distances of the training crystals (AlphaCrystal-II, eq. 5)."""
    distances = np.concatenate([t.distance_ang[np.triu_indices(len(t.species), 1)] for t in truths])
    return DistanceGroups(n, float(distances.min()), float(distances.max()))


@dataclass(frozen=True, eq=False)
class _Batch:
    """features: (b, n, 11), raw. target: (b, n, n), float for contacts, else integer. asked: (b, n, n), bool, pairs that
    count. lengths: (b, n, n), groups of distances to learn beside contacts, or None."""

    features: torch.Tensor
    target: torch.Tensor
    asked: torch.Tensor
    lengths: torch.Tensor | None = None


def train_paper(
    experiment: PaperExperiment,
    training: PaperTraining,
    known: Sequence[MapTruth],
    held: Sequence[MapTruth],
    name: str,
    folder: Path,
    keep_going: Callable[[], bool] | None = None,
) -> MapModel | None:
    """Train the network of one experiment; None if keep_going ended it early. Resumable; writes folder/curve.csv.

    known: crystals to draw from; held: crystals that only the loss curve sees.
    """
    chosen = draw(select(known, experiment.learned_from), experiment.n_train, training.loop.seed)
    if experiment.scramble:
        chosen = scrambled(chosen, training.loop.seed)
    groups = None if experiment.n_groups is None else fit_groups(chosen, experiment.n_groups)
    seed_torch(training.loop.seed)
    device = pick_device()
    n_lengths = len(LENGTH_EDGES) + 1 if groups is None and training.length_weight else 0
    config = ResnetConfig(
        (experiment.n_groups or 1) + n_lengths,
        width_1d=training.width_1d,
        width_2d=training.width_2d,
        dropout=training.dropout,
    )
    network = ResidualNetwork(config).to(device)
    watched = select(held, experiment.subset)
    task = _task(chosen, watched, groups, training, device)
    if not train(network, task, training.loop, folder, keep_going):
        return None
    if groups is None:
        network = _first_output(network)
    return MapModel(name, "contact" if groups is None else "groups", network.eval(), groups)


def _first_output(network: ResidualNetwork) -> ResidualNetwork:
    """The same network without the outputs that were only learned beside."""
    kept = ResidualNetwork(replace(network.config, n_outputs=1)).to(network.head.weight.device)
    state = network.state_dict()
    kept.load_state_dict(state | {k: state[k][:1] for k in ("head.weight", "head.bias")})
    return kept


def _stack(
    truths: Sequence[MapTruth], groups: DistanceGroups | None, training: PaperTraining, device: torch.device
) -> _Batch:
    """Crystals of one size as a batch."""
    features = torch.from_numpy(np.stack([element_features(t.species) for t in truths]).astype(np.float32))
    other = ~torch.eye(features.shape[1], dtype=torch.bool)
    asked, lengths = other.expand(len(truths), -1, -1), None
    if groups is None:
        target = torch.from_numpy(np.stack([t.contact for t in truths]).astype(np.float32))
        if training.only_bondable:
            asked = torch.from_numpy(np.stack([can_bond(t.species) for t in truths]))
        if training.length_weight:
            ratios = np.stack([t.distance_ang / bond_lengths_ang(t.species) for t in truths])
            lengths = torch.from_numpy(np.digitize(ratios, LENGTH_EDGES)).to(device)
    else:
        target = torch.from_numpy(np.stack([groups.assign(t.distance_ang) for t in truths]))
    return _Batch(features.to(device), target.to(device), asked.to(device), lengths)


def element_noise(truths: Sequence[MapTruth], spread: float, seed: int) -> torch.Tensor:
    """Noise on the features of each element of each crystal: (b, n, 11), raw units."""
    rng, table = np.random.default_rng(seed), element_table().features
    noise = [rng.normal(0, spread, (t.groups.max() + 1, table.shape[1]))[t.groups] for t in truths]
    return torch.from_numpy((np.stack(noise) * table.std(0)).astype(np.float32))


def _loss(network: nn.Module, batch: _Batch, length_weight: float = 0.0) -> torch.Tensor:
    """Cross-entropy per cell of the map; its diagonal, padding and what is not asked are left out."""
    logits = network(batch.features).float()
    asked, target = logits[batch.asked], batch.target[batch.asked]
    if not batch.target.is_floating_point():
        return nn.functional.cross_entropy(asked, target)
    contact = nn.functional.binary_cross_entropy_with_logits(asked[:, 0], target, reduction="sum")
    loss = contact / max(len(target), 1)
    if batch.lengths is None or not length_weight:
        return loss
    other = ~torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    lengths = nn.functional.cross_entropy(
        logits[:, other, 1:].flatten(0, 1), batch.lengths[:, other].flatten()
    )
    return loss + length_weight * lengths


def _task(
    known: Sequence[MapTruth],
    held: Sequence[MapTruth],
    groups: DistanceGroups | None,
    training: PaperTraining,
    device: torch.device,
) -> Task:
    # A batch holds crystals of one size, so that nothing in it is padding.
    sizes = [len(t.species) for t in known]

    def batches(epoch: int) -> list[np.ndarray]:
        return size_batches(sizes, 10**9, training.batch, np.random.default_rng((training.loop.seed, epoch)))

    def load(members: np.ndarray, seed: int) -> _Batch:
        crystals = [known[i] for i in members]
        batch = _stack(crystals, groups, training, device)
        if not training.element_noise:
            return batch
        noise = element_noise(crystals, training.element_noise, seed).to(device)
        return replace(batch, features=batch.features + noise)

    held_batches = [
        _stack([held[i] for i in members], groups, training, device)
        for members in size_batches([len(t.species) for t in held], 10**9, 256, None)
    ]

    def evaluate(network: nn.Module) -> dict[str, float]:
        weights = [len(b.target) for b in held_batches]
        losses = [float(_loss(network, b)) * w for b, w in zip(held_batches, weights)]
        return {"held_loss": sum(losses) / max(sum(weights), 1)}

    def loss(network: nn.Module, batch: _Batch) -> torch.Tensor:
        return _loss(network, batch, training.length_weight)

    return Task(batches, load, loss, evaluate)
