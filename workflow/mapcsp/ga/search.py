"""The genetic search: one population a label, varied and evaluated as arrays, kept by DEAP's toolbox and hall of fame.

DEAP's own loop (a Python object and several calls an individual) costs 60-100 µs an individual before any fitness is
known; a whole generation of 100 costs 0.4-0.6 ms here. So the toolbox holds operators on populations, and DEAP's
individuals, fitness and hall of fame come in where there are few: at the end of a run, for its distinct best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from deap import base, tools

from mapcsp.ga import variation
from mapcsp.ga.distinct import SAME_TOLERANCE, first_of_each, invariants
from mapcsp.ga.fitness import Evaluation, Objective, evaluate
from mapcsp.ga.genes import GeneKind, GeneLayout, gene_layout, sound_cells
from mapcsp.ga.seeds import Seed, random_genes, seeded_genes
from mapcsp.settings import ReconstructSettings

# Progress smaller than this does not count, and runs that end this near to each other found the same optimum.
TOTAL_TOLERANCE = 1e-4
# A search is over when so many runs, the later ones from random populations, ended at its best optimum.
CONVERGED_RUNS = 2
# Individuals of a run's final population that may enter the hall of fame.
HALL_ENTRANTS = 40
# A label joins a task's search only if each population can be given so many generations.
MIN_GENERATIONS = 10
# Chance that a child comes from another label's population.
LABEL_MOVE_RATE = 0.02
# Chance that a child has two orbits' coordinates exchanged.
SWAP_RATE = 0.1
# Share of differential moves among crossovers; the rest blend.
DIFFERENTIAL_SHARE = 0.6


class MaximisedFitness(base.Fitness):
    """DEAP's fitness, to be maximised."""

    weights = (1.0,)


class Individual:
    """One member of a hall of fame: its label's key (the label gene), its other genes and its invariant."""

    def __init__(self, label_key: str, genes: np.ndarray, invariant: np.ndarray, total: float) -> None:
        self.label_key = label_key
        self.genes = genes
        self.invariant = invariant
        self.fitness = MaximisedFitness((total,))


def same_crystal(one: Individual, other: Individual) -> bool:
    """Whether two individuals of one label are the same crystal."""
    return bool(np.sqrt(((one.invariant - other.invariant) ** 2).mean()) < SAME_TOLERANCE)


@dataclass(eq=False)
class Population:
    """The individuals of one label and the state of their search; changes from generation to generation.

    genes: (p, g). total: (p,), fitness. run_best: best total of the present run; stale: generations without progress.
    ends: best total of each finished run. trace: best total after each generation, of all runs.
    """

    objective: Objective
    layout: GeneLayout
    seeds: tuple[Seed, ...]
    toolbox: base.Toolbox
    hall: tools.HallOfFame
    rng: np.random.Generator
    genes: np.ndarray
    total: np.ndarray
    evaluations: int
    run_best: float
    stale: int = 0
    ends: list[float] = field(default_factory=list)
    trace: list[float] = field(default_factory=list)
    finished: bool = False


def evaluate_genes(objective: Objective, layout: GeneLayout, genes: np.ndarray) -> Evaluation:
    """Evaluate a population (p, g) in one call."""
    # Where the cell is fixed, one cell for all saves its reduction for each.
    cells = layout.decode_cells(genes if layout.free_cell else genes[:1])
    return evaluate(objective, cells, genes[:, : layout.n_coordinates])


def make_toolbox(
    objective: Objective, layout: GeneLayout, settings: ReconstructSettings, rng: np.random.Generator
) -> base.Toolbox:
    """Register the operators of one label; each takes and returns whole populations."""
    toolbox = base.Toolbox()
    rate = settings.mutation_rate
    swaps = variation.swap_sets(objective.prediction.label, layout)
    toolbox.register("population", random_genes, layout, rng=rng)
    toolbox.register("seeded", seeded_genes, layout, rng=rng)
    toolbox.register("evaluate", evaluate_genes, objective, layout)
    toolbox.register("select", select_tournament, rng=rng)
    toolbox.register("select_leaders", select_leaders, rng=rng)
    toolbox.register("mate_blend", variation.blend, layout, rng=rng)
    toolbox.register("mate_differential", variation.differential, layout, rng=rng)
    toolbox.register("mutate_coordinates", variation.mutate_coordinates, layout, rate=rate, rng=rng)
    toolbox.register("mutate_cell", variation.mutate_cell, layout, rate=rate, rng=rng)
    toolbox.register(
        "swap_roles", variation.swap_roles, swaps=swaps, rate=SWAP_RATE if swaps else 0.0, rng=rng
    )
    return toolbox


def select_tournament(total: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (count,) of winners of tournaments between three."""
    entrants = rng.integers(len(total), size=(count, 3))
    return entrants[np.arange(count), total[entrants].argmax(1)]


def select_leaders(total: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (count,) drawn from the best tenth (current-to-pbest; Zhang and Sanderson 2009).

    Against tournaments, 16 % fewer evaluations to the same optima on 14 crystals of 4 to 19 free coordinates.
    """
    best = np.argsort(-total, kind="stable")[: max(2, len(total) // 10)]
    return best[rng.integers(len(best), size=count)]


def start_population(
    objective: Objective, seeds: tuple[Seed, ...], settings: ReconstructSettings, seed: int
) -> Population:
    """Build and evaluate the first population of one label."""
    rng = np.random.default_rng(seed)
    # The papers' searches are given the cell.
    layout = gene_layout(objective.prediction, search_cell=settings.mode == "full")
    toolbox = make_toolbox(objective, layout, settings, rng)
    n_seeded = max(round(settings.seed_fraction * settings.population), 0) if seeds else 0
    genes = toolbox.population(count=settings.population - n_seeded)
    if n_seeded:
        genes = np.concatenate([toolbox.seeded(seeds, count=n_seeded), genes])
    total = toolbox.evaluate(genes).total
    hall = tools.HallOfFame(4 * settings.candidates_per_label, similar=same_crystal)
    return Population(
        objective, layout, seeds, toolbox, hall, rng, genes, total, len(genes), float(total.max())
    )


def breed(population: Population, settings: ReconstructSettings) -> np.ndarray:
    """Make one child of each individual (p, g): crossover, typed mutations, exchange of element roles."""
    toolbox, layout, rng = population.toolbox, population.layout, population.rng
    parents, total = population.genes, population.total
    count = len(parents)
    choice = rng.random(count)
    crossed = choice < settings.crossover_rate
    by_difference = choice < settings.crossover_rate * DIFFERENTIAL_SHARE
    children = parents.copy()
    blended = crossed & ~by_difference
    children[blended] = toolbox.mate_blend(
        parents[blended], parents[toolbox.select(total, int(blended.sum()))]
    )
    n_difference = int(by_difference.sum())
    others = parents[rng.integers(count, size=(3, n_difference))]
    leaders = parents[toolbox.select_leaders(total, n_difference)]
    children[by_difference] = toolbox.mate_differential(parents[by_difference], leaders, others)
    children = toolbox.mutate_coordinates(children)
    if layout.free_cell:
        children = toolbox.mutate_cell(children)
    children = toolbox.swap_roles(children)
    # A copy that no mutation touched would spend an evaluation on nothing: it is mutated in one gene at least.
    same = np.flatnonzero(~crossed & (children == parents).all(1))
    if len(same):
        column = rng.integers(layout.n_genes, size=len(same))
        children[same, column] += (
            0.05 * np.array([g.spread for g in layout.genes])[column] * rng.standard_normal(len(same))
        )
    children = layout.confine(children)
    if any(g.kind is GeneKind.ANGLE for g in layout.genes):
        bad = ~sound_cells(layout.decode_cells(children))
        children[bad, layout.n_coordinates :] = parents[bad, layout.n_coordinates :]
    return children


def advance(
    population: Population, settings: ReconstructSettings, migrants: np.ndarray | None = None
) -> None:
    """Run one generation: every child replaces its parent if it is at least as good, so that the best stays.

    migrants: (m, g), individuals that come from another label, in place of the last children.
    """
    children = breed(population, settings)
    if migrants is not None and len(migrants):
        children[-len(migrants) :] = migrants
    total = population.toolbox.evaluate(children).total
    better = total >= population.total
    population.genes[better] = children[better]
    population.total[better] = total[better]
    population.evaluations += len(children)
    best = float(population.total.max())
    population.stale = 0 if best > population.run_best + TOTAL_TOLERANCE else population.stale + 1
    if population.stale == 0:
        population.run_best = best
    population.trace.append(max(best, population.trace[-1] if population.trace else best))
    if population.stale >= settings.patience or np.ptp(population.total) < TOTAL_TOLERANCE:
        end_run(population)
        restart(population)


def end_run(population: Population) -> None:
    """Hand the distinct best of the present run to the hall of fame."""
    order = np.argsort(-population.total, kind="stable")[:HALL_ENTRANTS]
    genes = population.genes[order]
    rows = invariants(population.objective.pairs, *population.layout.decode(genes))
    key = population.objective.prediction.label.key
    entrants = [
        Individual(key, genes[i].copy(), rows[i], float(population.total[order[i]]))
        for i in first_of_each(rows, population.hall.maxsize)
    ]
    # DEAP's hall keeps the first of two similar individuals, even if the second is better.
    hall = population.hall
    for entrant in entrants:
        for index in reversed(range(len(hall))):
            if same_crystal(entrant, hall[index]) and hall[index].fitness < entrant.fitness:
                hall.remove(index)
    hall.update(entrants)
    population.ends.append(float(population.total.max()))


def restart(population: Population) -> None:
    """Start again from a random population, unless the best optimum was found often enough."""
    best = max(population.ends)
    if sum(end > best - 10 * TOTAL_TOLERANCE for end in population.ends) >= CONVERGED_RUNS:
        population.finished = True
        return
    population.genes = population.toolbox.population(count=len(population.genes))
    population.total = population.toolbox.evaluate(population.genes).total
    population.evaluations += len(population.genes)
    population.run_best, population.stale = float(population.total.max()), 0


def migrate(source: Population, target: Population, count: int, rng: np.random.Generator) -> np.ndarray:
    """Move good individuals of one label to another (m, g of the target)."""
    taken = variation.label_move(source.layout, target.layout)
    chosen = source.genes[source.toolbox.select(source.total, count)]
    return target.layout.confine(variation.move_label(chosen, taken, random_genes(target.layout, count, rng)))


def search_labels(
    objectives: Sequence[Objective],
    seeds: Sequence[tuple[Seed, ...]],
    random_seeds: Sequence[int],
    settings: ReconstructSettings,
    max_evaluations: int,
) -> list[Population]:
    """Search the free parameters of several labels of one space group, generation by generation in turn.

    objectives, seeds, random_seeds: of each label, most likely first. Labels for which `max_evaluations` does not suffice
    are left out from the end. Returns the populations, their halls of fame filled.
    """
    affordable = max_evaluations // (settings.population * MIN_GENERATIONS)
    if max_evaluations >= settings.population:
        affordable = max(affordable, 1)
    chosen = range(min(len(objectives), affordable))
    populations = [start_population(objectives[i], seeds[i], settings, random_seeds[i]) for i in chosen]
    left = max_evaluations - sum(p.evaluations for p in populations)
    while active := [p for p in populations if not p.finished]:
        for population in active:
            # A restart costs a second population.
            if left < 2 * settings.population:
                break
            before = population.evaluations
            advance(population, settings, _migrants(population, populations, settings))
            left -= population.evaluations - before
        else:
            continue
        break
    for population in populations:
        if not population.finished:
            end_run(population)
    return populations


def _migrants(
    population: Population, populations: Sequence[Population], settings: ReconstructSettings
) -> np.ndarray | None:
    if len(populations) < 2:
        return None
    rng = population.rng
    count = int(rng.binomial(settings.population, LABEL_MOVE_RATE))
    if count == 0:
        return None
    others = [p for p in populations if p is not population]
    return migrate(others[rng.integers(len(others))], population, count, rng)
