"""Trials of the reconstruction on known crystals: from true maps, from the formula, and with the right label given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mapcsp.ga.genes import gene_layout
from mapcsp.ga.modes import paper_settings
from mapcsp.ga.pool import pool_candidates, shortest_distance_ratio
from mapcsp.ga.reconstruct import reconstruct_task
from mapcsp.ga.seeds import random_genes
from mapcsp.maps.labels import map_labels
from mapcsp.metrics.match import LOOSE, match_rms
from mapcsp.planning.plan import plan_formula
from mapcsp.provenance import derive_seed
from mapcsp.records import (
    Crystal,
    FormulaMaps,
    Label,
    LabelPrediction,
    PredictedMap,
    ReconstructionTask,
    SymmetryPrediction,
)
from mapcsp.settings import ReconstructSettings, Settings
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.tables import KnownCrystal

Source = Literal[
    "default", "prototypes", "search_without_seeds", "random_coordinates", "cmcrystal", "dmcrystal"
]
Known = Literal["maps", "contacts", "contacts, cmcrystal"]
# The terms that need no distances.
CONTACT_WEIGHTS = {"weight_map": 0.0, "weight_contact": 1.0, "weight_bond": 0.5, "weight_short": 5.0}
# Answers looked at.
DEPTH = 20
# Random crystals drawn for one without a clash.
RANDOM_DRAWS = 50
# A true map is as sharp as this.
TRUE_SPREAD_ANG = 0.1


@dataclass(frozen=True, eq=False)
class Target:
    """A known crystal, as its table has it and as its canonical label."""

    known: KnownCrystal
    encoded: EncodedKnown


@dataclass(frozen=True)
class Trial:
    """How one known crystal fared.

    rank: of the first match among the answers, from 0, or None. rms: of that match, in units of (V/n)^(1/3).
    volume_error: relative, of the first answer. search_s: core seconds of the search, matching aside.
    """

    material_id: str
    rank: int | None
    rms: float | None
    volume_error: float | None
    n_answers: int
    evaluations: int
    search_s: float


def judge(target: Target, answers: Sequence[Crystal], evaluations: int, search_s: float) -> Trial:
    """Match answers against the known crystal until one matches."""
    truth = target.known.crystal
    rank, rms = None, None
    for position, crystal in enumerate(answers[:DEPTH]):
        rms = match_rms(crystal, truth, LOOSE)
        if rms is not None:
            rank = position
            break
    error = None
    if answers:
        first = answers[0]
        error = first.volume_ang3 / first.n_atoms / (truth.volume_ang3 / truth.n_atoms) - 1
    return Trial(target.known.material_id, rank, rms, error, len(answers), evaluations, search_s)


def rebuild(target: Target, known: Known, settings: Settings) -> Trial:
    """Rebuild a crystal from its true map, label and lattice, without any known geometry.

    known: `maps` searches as by default under the true distances; `contacts` by contacts, bonds and short distances alone;
    `contacts, cmcrystal` as CMCrystal does. All may spend 100,000 evaluations, as in the papers.
    """
    encoded = target.encoded
    label = Label.from_key(encoded.label_key)
    truth = map_labels(label_geometry(label).decode(encoded.cell, encoded.free_coords))
    prediction = LabelPrediction(label, encoded.z, 0.0, "trained", encoded.cell, 0.0, 0.0)
    true_map = PredictedMap(
        encoded.z,
        label.key,
        truth.species,
        truth.distance_ang,
        np.full(truth.distance_ang.shape, TRUE_SPREAD_ANG),
        truth.contact.astype(float),
    )
    search = settings.reconstruct.model_copy(update={"max_evaluations": 100_000})
    if known == "contacts":
        search = search.model_copy(update=CONTACT_WEIGHTS)
    elif known == "contacts, cmcrystal":
        search = paper_settings("cmcrystal")
    return _label_trial(target, prediction, true_map, search, settings.seed, "search")


def refine(
    target: Target,
    prediction: LabelPrediction,
    predicted: PredictedMap,
    search: ReconstructSettings,
    seed: int,
    origin: Literal["search", "prototype"],
) -> Trial | None:
    """Search the right label alone under its predicted map and cell, and judge the best candidate of one origin.

    Returns None if there is no such candidate.
    """
    trial = _label_trial(target, prediction, predicted, search, seed, origin)
    return trial if trial.n_answers else None


def _label_trial(
    target: Target,
    prediction: LabelPrediction,
    predicted: PredictedMap,
    search: ReconstructSettings,
    seed: int,
    origin: str,
) -> Trial:
    name, number = target.known.material_id, prediction.label.space_group
    task = ReconstructionTask(
        name,
        name,
        target.known.formula,
        number,
        1.0,
        derive_seed(seed, name),
        (prediction,),
        (predicted,),
    )
    started = time.process_time()
    result = reconstruct_task(task, search)
    search_s = time.process_time() - started
    # Where nothing is free, the given cell is all there is.
    fixed = label_geometry(prediction.label).n_free == 0
    answers = [c.crystal for c in result.candidates if fixed or c.origin == origin][:1]
    return judge(target, answers, result.evaluations, search_s)


def predict_from_formula(
    target: Target,
    source: Source,
    prediction: SymmetryPrediction,
    maps: tuple[PredictedMap, ...],
    settings: Settings,
) -> Trial:
    """Answer a formula with the pool of one source of coordinates, all under the same labels, cells and maps.

    default: as a run does. prototypes: known geometries alone. search_without_seeds: the default search from random
    populations. random_coordinates: for each label one crystal without a clash, no search. cmcrystal, dmcrystal: the
    papers' searches.
    """
    started = time.process_time()
    if source == "random_coordinates":
        answers = random_crystals(prediction, settings)
        return judge(target, answers, 0, time.process_time() - started)
    if source == "search_without_seeds":
        prediction = replace(prediction, labels=tuple(replace(p, seeds=()) for p in prediction.labels))
    search = _search_settings(source, settings.reconstruct)
    tasks = plan_formula(prediction, FormulaMaps(prediction.id, maps), settings.seed)
    results = [reconstruct_task(task, search) for task in tasks]
    pool = pool_candidates(results, settings.pool)
    evaluations = sum(r.evaluations for r in results)
    return judge(target, [c.crystal for c in pool.candidates], evaluations, time.process_time() - started)


def _search_settings(source: Source, default: ReconstructSettings) -> ReconstructSettings:
    if source == "cmcrystal" or source == "dmcrystal":
        return paper_settings(source)
    return default.model_copy(update={"max_evaluations": 0}) if source == "prototypes" else default


def random_crystals(prediction: SymmetryPrediction, settings: Settings) -> list[Crystal]:
    """One crystal for each label of the space groups to run, the likeliest label first.

    Coordinates are random and cells as uncertain as predicted, drawn until no two atoms clash; labels that always clash give
    none.
    """
    groups = {number for number, _ in prediction.space_groups}
    found: list[Crystal] = []
    for label in prediction.labels:
        if label.label.space_group not in groups:
            continue
        geometry = label_geometry(label.label)
        layout = gene_layout(label, search_cell=True)
        rng = np.random.default_rng(derive_seed(settings.seed, prediction.id, label.label.key))
        cells, free = layout.decode(random_genes(layout, RANDOM_DRAWS, rng))
        drawn = (geometry.decode(c, f) for c, f in zip(cells, free))
        sound = (c for c in drawn if shortest_distance_ratio(c) >= settings.pool.min_distance_ratio)
        crystal = next(sound, None)
        if crystal is not None:
            found.append(crystal)
    return found[: settings.pool.size]
