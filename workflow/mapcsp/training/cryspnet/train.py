"""Trains all ensembles of CRYSPNet: 3 for Bravais lattices, 14 for space groups, 14 and 14 for cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mapcsp.cryspnet.conventional import BRAVAIS_LATTICES, free_parameters, free_values
from mapcsp.cryspnet.features import CELL_FEATURE_NAMES, FEATURE_NAMES
from mapcsp.cryspnet.networks import CLIP, Ensemble, Perceptron
from mapcsp.cryspnet.predict import bravais_name, cell_name, groups_name
from mapcsp.provenance import derive_seed
from mapcsp.training.cryspnet.data import DATA_SETS, Sample, classes_of, oversampled
from mapcsp.training.cryspnet.loop import CryspNetTraining, Problem, train_perceptron

N_COMPOSITION = len(FEATURE_NAMES)
COMPOSITION = np.arange(N_COMPOSITION)
# MLatticeABC leaves out the statistics of the elements' own space groups and adds the content of the cell.
WITH_CELL = np.array(
    [i for i, n in enumerate((*FEATURE_NAMES, *CELL_FEATURE_NAMES)) if not n.endswith("SpaceGroupNumber")]
)
NOTHING = np.zeros(0, dtype=np.float32)


def train_cryspnet(
    samples: Sequence[Sample], settings: CryspNetTraining, note: Callable[[str], None] = print
) -> dict[str, Ensemble]:
    """Train every ensemble, by the names of `cryspnet.predict`.

    Bravais lattices are learned from "all", "metals" and "oxides"; space groups and cells from all crystals of a lattice.
    """
    ensembles = {}
    for data_set in DATA_SETS:
        chosen = [s for s in samples if data_set in s.data_sets]
        ensembles[bravais_name(data_set)] = _train_bravais(chosen, data_set, settings)
        note(f"Bravais lattices, {data_set}: {len(chosen)} crystals")
    for bravais in BRAVAIS_LATTICES:
        chosen = [s for s in samples if s.target.bravais == bravais]
        ensembles[groups_name(bravais)] = _train_groups(chosen, bravais, settings)
        for with_z in (False, True):
            ensembles[cell_name(bravais, with_z)] = _train_cell(chosen, bravais, with_z, settings)
        note(f"space groups and cells, {bravais}: {len(chosen)} crystals")
    return ensembles


def _train_bravais(samples: Sequence[Sample], data_set: str, settings: CryspNetTraining) -> Ensemble:
    labels = [s.target.bravais for s in samples]
    hidden = settings.hidden_bravais if data_set == "all" else settings.hidden
    return _train_classes(
        samples, labels, classes_of(labels), hidden, settings.members_bravais, settings.oversample_bravais,
        bravais_name(data_set), settings,
    )  # fmt: skip


def _train_groups(samples: Sequence[Sample], bravais: str, settings: CryspNetTraining) -> Ensemble:
    labels = [str(s.target.space_group) for s in samples]
    # Its code drops space groups that occur once; a network cannot be judged on them.
    classes = classes_of(labels, at_least=2)
    kept = [i for i, label in enumerate(labels) if label in classes]
    return _train_classes(
        [samples[i] for i in kept], [labels[i] for i in kept], classes, settings.hidden_groups,
        settings.members_groups, settings.oversample_groups, groups_name(bravais), settings,
    )  # fmt: skip


def _train_classes(
    samples: Sequence[Sample],
    labels: Sequence[str],
    classes: Sequence[str],
    hidden: int,
    n_members: int,
    oversample: int,
    name: str,
    settings: CryspNetTraining,
) -> Ensemble:
    predictors = np.stack([s.predictors for s in samples])
    used, mean, scale = _inputs(predictors, COMPOSITION)
    inputs = (predictors[:, used] - mean) / scale
    targets = np.array([classes.index(label) for label in labels])
    members = []
    for seed, drawn in _draws(name, len(samples), n_members, settings):
        order = drawn[oversampled([labels[i] for i in drawn], oversample)]
        problem = Problem(inputs, targets, len(classes), order)
        members.append(train_perceptron(problem, hidden, settings.epochs, seed, settings))
    return Ensemble(
        "classes", tuple(classes), used, mean, scale, tuple(members), NOTHING, NOTHING, NOTHING, NOTHING
    )


def _train_cell(
    samples: Sequence[Sample], bravais: str, with_z: bool, settings: CryspNetTraining
) -> Ensemble:
    predictors = np.stack([s.predictors for s in samples])
    used, mean, scale = _inputs(predictors, WITH_CELL if with_z else COMPOSITION)
    inputs = np.clip((predictors[:, used] - mean) / scale, -CLIP, CLIP)
    logs = np.log([free_values(bravais, s.target.cell) for s in samples])
    target_mean, target_scale = logs.mean(0), np.maximum(logs.std(0), 1e-6)
    targets = (logs - target_mean) / target_scale
    low, high = targets.min(0), targets.max(0)
    name = cell_name(bravais, with_z)
    members: list[Perceptron] = []
    for seed, drawn in _draws(name, len(samples), settings.members_cell, settings):
        problem = Problem(inputs, targets, targets.shape[1], drawn, low, high)
        members.append(
            train_perceptron(problem, settings.hidden_groups, settings.epochs_cell, seed, settings)
        )
    parameters = free_parameters(bravais)
    return Ensemble(
        "cell", parameters, used, mean, scale, tuple(members), target_mean, target_scale, low, high
    )


def _inputs(predictors: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictors that vary over these crystals, with mean and standard deviation; the rest carry nothing."""
    scale = predictors[:, allowed].std(0)
    used = allowed[scale > 1e-6]
    return used, predictors[:, used].mean(0), predictors[:, used].std(0)


def _draws(name: str, n: int, n_members: int, settings: CryspNetTraining) -> list[tuple[int, np.ndarray]]:
    """Seed and crystals of each member: vertical voting trains each on its own random share (Appendix D)."""
    draws = []
    for member in range(n_members):
        seed = derive_seed(settings.seed, name, member)
        size = max(2, round(settings.sample_share * n))
        draws.append((seed, np.sort(np.random.default_rng(seed).permutation(n)[:size])))
    return draws
