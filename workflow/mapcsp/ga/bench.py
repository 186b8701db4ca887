"""Speed of the search on a 12-atom cell, beside a plain DEAP loop with the same fitness."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import numpy as np
from deap import algorithms, base, tools

from mapcsp.crystals import distance_matrix
from mapcsp.ga.fitness import Objective, build_objective, evaluate
from mapcsp.ga.pairs import BOND_TOLERANCE_ANG, label_pairs
from mapcsp.ga.reconstruct import reconstruct_task
from mapcsp.ga.search import MaximisedFitness
from mapcsp.records import Label, LabelPrediction, PredictedMap, ReconstructionTask
from mapcsp.settings import ReconstructSettings

# Baddeleyite, ZrO2 (P2_1/c, 12 atoms, 9 free coordinates): Howard, Hill and Reichert, Acta Cryst. B 44, 116 (1988).
LABEL_KEY = "14:O-e,O-e,Zr-e"
CELL = (5.150, 5.212, 5.317, 90.0, 99.23, 90.0)
FREE_COORDS = (0.070, 0.332, 0.345, 0.449, 0.757, 0.479, 0.275, 0.040, 0.208)
# Enough for a rate; a plain loop would take minutes for 100,000.
PLAIN_EVALUATIONS = 5000


@dataclass(frozen=True)
class SearchBench:
    """Figures of `make bench`.

    evaluations_per_s: fitness calls alone, populations of 100, the cell varied. search_100k_s: a whole task of 100,000
    evaluations. plain_deap_evaluations_per_s: DEAP's own loop, one individual at a time.
    """

    evaluations_per_s: float
    search_100k_s: float
    plain_deap_evaluations_per_s: float


def bench_search() -> SearchBench:
    """Measure CPU seconds of one core, which what else runs on the machine does not change; compiling is not counted."""
    task = _task()
    # A patience that never ends, so that all evaluations are spent.
    settings = ReconstructSettings(max_evaluations=100_000, seed_fraction=0.0, patience=10_000)
    reconstruct_task(task, settings.model_copy(update={"max_evaluations": 1000}))
    objective = build_objective(task.labels[0], task.maps[0], settings)
    started = time.process_time()
    result = reconstruct_task(task, settings)
    search_s = (time.process_time() - started) * 100_000 / result.evaluations
    return SearchBench(_evaluation_rate(objective), search_s, _plain_rate(objective))


def _task() -> ReconstructionTask:
    label = Label.from_key(LABEL_KEY)
    pairs = label_pairs(label)
    cell = np.array(CELL)
    distances = distance_matrix(pairs.geometry.decode(cell, np.array(FREE_COORDS)))
    kinds = pairs.kind_of_pair
    bonded = (
        (kinds >= 0) & pairs.can_bond[kinds] & (abs(distances - pairs.bond_ang[kinds]) <= BOND_TOLERANCE_ANG)
    )
    spread = np.full(distances.shape, 0.1)
    predicted = PredictedMap(4, label.key, pairs.geometry.species, distances, spread, bonded.astype(float))
    prediction = LabelPrediction(label, 4, -1.0, "trained", cell, 0.05, 0.05)
    return ReconstructionTask("bench", "bench", "ZrO2", 14, 1.0, 1, (prediction,), (predicted,))


def _evaluation_rate(objective: Objective) -> float:
    rng = np.random.default_rng(0)
    free = rng.random((100, len(FREE_COORDS)))
    cells = np.array(CELL) * np.where(np.arange(6) < 3, rng.uniform(0.9, 1.1, (100, 6)), 1.0)
    evaluate(objective, cells, free)
    started = time.process_time()
    for _ in range(200):
        evaluate(objective, cells, free)
    return 200 * 100 / (time.process_time() - started)


class _ListIndividual(list[float]):
    """DEAP's usual individual: a list with a fitness."""

    def __init__(self, values: list[float]) -> None:
        super().__init__(values)
        self.fitness = MaximisedFitness()


def _plain_rate(objective: Objective) -> float:
    """DEAP's eaSimple with its own operators, each individual evaluated on its own."""
    randomness = random.getstate()
    random.seed(0)
    cell = np.array([CELL])

    def fitness(individual: _ListIndividual) -> tuple[float]:
        return (float(evaluate(objective, cell, np.mod(np.array([individual]), 1.0)).total[0]),)

    toolbox = base.Toolbox()
    toolbox.register("evaluate", fitness)
    toolbox.register("mate", tools.cxBlend, alpha=0.3)
    toolbox.register("mutate", tools.mutGaussian, mu=0.0, sigma=0.05, indpb=0.1)
    toolbox.register("select", tools.selTournament, tournsize=3)
    people = [_ListIndividual([random.random() for _ in FREE_COORDS]) for _ in range(100)]
    started = time.process_time()
    # With crossover and mutation both certain, every child of every generation is evaluated.
    algorithms.eaSimple(people, toolbox, 1.0, 1.0, PLAIN_EVALUATIONS // 100 - 1, verbose=False)
    rate = PLAIN_EVALUATIONS / (time.process_time() - started)
    random.setstate(randomness)
    return rate
