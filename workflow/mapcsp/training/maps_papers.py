"""The experiments of AlphaCrystal (contact maps) and AlphaCrystal-II (Table 5), each by its name, with the papers'
figures.

Data: the papers drew from the whole Materials Project (10,219 and 1,136 crystals; 18,776 crystals). Here
training crystals are drawn from the given tables and tested on tables that share no formula with them, which
is harder than a random split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import nn

from mapcsp.elements import element_features
from mapcsp.maps.labels import DistanceGroups
from mapcsp.maps.models import MapModel
from mapcsp.maps.resnet import ResidualNetwork, ResnetConfig
from mapcsp.symmetry.cells import crystal_system
from mapcsp.training.maps_loop import LoopConfig, Task, pick_device, seed_torch, train
from mapcsp.training.maps_samples import size_batches
from mapcsp.training.maps_truth import MapTruth, contact_subset, scrambled

Known = TypeVar("Known")
Subset = Literal["all", "cubic", "binary", "ternary", "contact"]


@dataclass(frozen=True)
class PaperExperiment:
    """One row of a paper's table.

    n_groups: distance groups, or None for contact maps. n_train, n_test: crystals asked for. scramble: deal maps out anew
    among compositions of equal atom counts first. paper: what the paper reports, by the keys of metrics.json.
    """

    n_groups: int | None
    n_train: int
    n_test: int
    subset: Subset = "all"
    scramble: bool = False
    paper: tuple[tuple[str, float], ...] = ()


def _paper(mse: float, rmse: float, overlap: float) -> tuple[tuple[str, float], ...]:
    return (("distance_mse_ang2", mse), ("distance_overlap", overlap), ("distance_rmse_ang", rmse))


EXPERIMENTS: dict[str, PaperExperiment] = {
    "groups5_1k": PaperExperiment(5, 1000, 100, paper=_paper(4.9538, 1.8841, 0.9045)),
    "groups5_10k": PaperExperiment(5, 10000, 1000, paper=_paper(2.3764, 1.2269, 0.9979)),
    "groups10_1k": PaperExperiment(10, 1000, 100, paper=_paper(2.8586, 1.3399, 0.9981)),
    "groups10_10k": PaperExperiment(10, 10000, 1000, paper=_paper(1.8932, 1.0984, 0.9989)),
    "groups20_10k": PaperExperiment(20, 10000, 1000, paper=_paper(1.5591, 0.9239, 0.9992)),
    "groups10_cubic": PaperExperiment(10, 2638, 200, "cubic", paper=_paper(1.0125, 0.7394, 0.9746)),
    "groups10_binary": PaperExperiment(10, 4678, 400, "binary", paper=_paper(2.7835, 1.3109, 0.9980)),
    "groups10_ternary": PaperExperiment(10, 9292, 1000, "ternary", paper=_paper(2.0832, 1.2779, 0.9985)),
    "contact": PaperExperiment(
        None, 10219, 1136, "contact", paper=(("contact_accuracy", 0.927), ("contact_perfect", 461 / 1136))
    ),
    "groups10_1k_scrambled": PaperExperiment(10, 1000, 100, scramble=True),
    "groups20_10k_scrambled": PaperExperiment(20, 10000, 1000, scramble=True),
    "contact_scrambled": PaperExperiment(None, 10219, 1136, "contact", scramble=True),
}
"""Table 5 of AlphaCrystal-II row by row, AlphaCrystal's contact test, and each kind with scrambled maps."""


@dataclass(frozen=True)
class PaperTraining:
    """How the papers' network is trained: its widths and its loop. batch: crystals of one size in a batch."""

    width_1d: int
    width_2d: int
    loop: LoopConfig
    batch: int = 32


TRAININGS: dict[str, PaperTraining] = {
    # The papers' own: for an accelerator.
    "paper": PaperTraining(32, 256, LoopConfig(epochs=125, learning_rate=1e-3)),
    "paper_contact": PaperTraining(32, 256, LoopConfig(epochs=125, learning_rate=1e-4)),
    # Same blocks and depth, a sixteenth of the 2D filters, fewer epochs with a falling learning rate: for one CPU core.
    "narrow": PaperTraining(
        32,
        16,
        LoopConfig(
            epochs=16,
            learning_rate=2e-3,
            optimiser="adamw",
            schedule="cosine",
            weight_decay=0.01,
            clip_norm=5.0,
        ),
    ),
}
"""Named settings of the papers' network: `paper` and `paper_contact` as published, `narrow` scaled to a CPU."""


def select(truths: Sequence[MapTruth], subset: Subset) -> list[MapTruth]:
    """Crystals of a subset; `contact`: lowest formation energy of each formula, no all-metal crystals."""
    if subset == "contact":
        return contact_subset(truths)
    if subset == "cubic":
        return [t for t in truths if t.space_group is not None and crystal_system(t.space_group) == "cubic"]
    n_elements = {"all": None, "binary": 2, "ternary": 3}[subset]
    return [t for t in truths if n_elements is None or len(t.elements) == n_elements]


def draw(crystals: Sequence[Known], n: int, seed: int) -> list[Known]:
    """Draw at most n crystals, each at most once; deterministic."""
    chosen = np.random.default_rng(seed).permutation(len(crystals))[:n]
    return [crystals[i] for i in np.sort(chosen)]


def fit_groups(truths: Sequence[MapTruth], n: int) -> DistanceGroups:
    """Groups over the range of distances of the training crystals (AlphaCrystal-II, eq. 5)."""
    distances = np.concatenate([t.distance_ang[np.triu_indices(len(t.species), 1)] for t in truths])
    return DistanceGroups(n, float(distances.min()), float(distances.max()))


@dataclass(frozen=True, eq=False)
class _Batch:
    features: torch.Tensor
    target: torch.Tensor


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
    chosen = draw(select(known, experiment.subset), experiment.n_train, training.loop.seed)
    if experiment.scramble:
        chosen = scrambled(chosen, training.loop.seed)
    groups = None if experiment.n_groups is None else fit_groups(chosen, experiment.n_groups)
    seed_torch(training.loop.seed)
    device = pick_device()
    config = ResnetConfig(experiment.n_groups or 1, width_1d=training.width_1d, width_2d=training.width_2d)
    network = ResidualNetwork(config).to(device)
    watched = select(held, experiment.subset)
    task = _task(chosen, watched, groups, training, device)
    if not train(network, task, training.loop, folder, keep_going):
        return None
    return MapModel(name, "contact" if groups is None else "groups", network.eval(), groups)


def _stack(truths: Sequence[MapTruth], groups: DistanceGroups | None, device: torch.device) -> _Batch:
    features = torch.from_numpy(np.stack([element_features(t.species) for t in truths]).astype(np.float32))
    if groups is None:
        target = torch.from_numpy(np.stack([t.contact for t in truths]).astype(np.float32))
    else:
        target = torch.from_numpy(np.stack([groups.assign(t.distance_ang) for t in truths]))
    return _Batch(features.to(device), target.to(device))


def _loss(network: nn.Module, batch: _Batch) -> torch.Tensor:
    """Cross-entropy per cell of the map, its diagonal and padding left out."""
    logits = network(batch.features)
    n = logits.shape[1]
    other = ~torch.eye(n, dtype=torch.bool, device=logits.device)
    if logits.shape[-1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(
            logits[:, other, 0].float(), batch.target[:, other]
        )
    return nn.functional.cross_entropy(
        logits[:, other].float().flatten(0, 1), batch.target[:, other].flatten()
    )


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
        return _stack([known[i] for i in members], groups, device)

    held_batches = [
        _stack([held[i] for i in members], groups, device)
        for members in size_batches([len(t.species) for t in held], 10**9, 256, None)
    ]

    def evaluate(network: nn.Module) -> dict[str, float]:
        weights = [len(b.target) for b in held_batches]
        losses = [float(_loss(network, b)) * w for b, w in zip(held_batches, weights)]
        return {"held_loss": sum(losses) / max(sum(weights), 1)}

    return Task(batches, load, _loss, evaluate)


def shortened(training: PaperTraining, epochs: int) -> PaperTraining:
    """The same training with another number of epochs."""
    return replace(training, loop=replace(training.loop, epochs=epochs))


def describe(experiment: PaperExperiment, training: PaperTraining) -> dict:
    """Experiment and training as plain values, for metrics.json."""
    return {"experiment": asdict(experiment), "training": asdict(training)}
