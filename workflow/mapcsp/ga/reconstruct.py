"""The reconstruct stage: from a task (labels, cells, maps) to distinct candidates with their fitness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapcsp.errors import UserError
from mapcsp.finished import FinishedResults
from mapcsp.ga.distinct import first_of_each, invariants
from mapcsp.ga.fitness import Evaluation, Objective, build_objective, evaluate
from mapcsp.ga.genes import impose_from_free
from mapcsp.ga.score import candidate_score
from mapcsp.ga.search import Population, search_labels
from mapcsp.ga.seeds import Seed, label_seeds, read_user_seeds
from mapcsp.provenance import code_id, derive_seed, file_sha256, imported_modules, value_hash, versions
from mapcsp.records import Candidate, FitnessTerms, ReconstructionTask, TaskResult
from mapcsp.settings import ReconstructSettings, read_section
from mapcsp.store import read_records, to_plain, write_records
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.no_larger import best_of_no_larger


@dataclass(frozen=True, eq=False)
class Found:
    """One geometry of a label on the way to a candidate. cell: (6,), free_coords: (f,)."""

    cell: np.ndarray
    free_coords: np.ndarray
    fitness: FitnessTerms
    origin: str
    count: int


def reconstruct_task(task: ReconstructionTask, settings: ReconstructSettings) -> TaskResult:
    """Search one task: every label's known geometries, and what the genetic algorithm finds beside them.

    Infeasible tasks, and tasks without what the mode needs, come back as records with a reason.
    """
    if task.status != "ready":
        return _without_candidates(task, task.status, task.reason)
    if not task.labels:
        return _without_candidates(task, "infeasible", "no label of this space group fits the formula")
    if settings.mode != "full" and not task.maps:
        return _without_candidates(
            task, "failed", f"mode {settings.mode} needs predicted maps, and there are none"
        )
    # Labels in the order of their probability, whatever the plan's.
    order = sorted(
        range(len(task.labels)), key=lambda i: (-task.labels[i].log_prob, task.labels[i].label.key)
    )
    labels = [task.labels[i] for i in order]
    maps = [task.maps[i] for i in order] if task.maps else [None] * len(labels)
    user = read_user_seeds(settings.seed_structures, _amounts(task), tuple(labels))
    objectives = [
        build_objective(prediction, predicted, settings) for prediction, predicted in zip(labels, maps)
    ]
    # The papers' searches know no geometry of other crystals.
    seeds = [label_seeds(prediction, user, prototypes=settings.mode == "full") for prediction in labels]
    known = [_known_geometries(objective, s) for objective, s in zip(objectives, seeds)]
    evaluations = sum(len(k) for k in known)
    searched: dict[int, list[Found]] = {}
    # Each size of cell has its own evaluations: what is found in one does not depend on which others are tried.
    for z in sorted({label.z for label in labels}):
        mine = [i for i, label in enumerate(labels) if label.z == z]
        searchable = [i for i in mine if objectives[i].pairs.geometry.n_free > 0]
        populations = search_labels(
            [objectives[i] for i in searchable],
            [seeds[i] for i in searchable],
            [derive_seed(task.seed, z, labels[i].label.key) for i in searchable],
            settings,
            settings.max_evaluations - sum(len(known[i]) for i in mine),
        )
        evaluations += sum(p.evaluations for p in populations)
        searched |= {i: _best_of(population) for i, population in zip(searchable, populations)}
    candidates = []
    for rank, prediction in enumerate(labels):
        found = _distinct(
            objectives[rank], known[rank], searched.get(rank, []), settings.candidates_per_label
        )
        candidates += [
            (candidate_score(prediction.log_prob, position, one.fitness.total), rank, position, one)
            for position, one in enumerate(found)
        ]
    candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
    kept = best_of_no_larger([labels[rank].z for _, rank, _, _ in candidates], settings.candidates_per_task)
    records = tuple(
        _candidate(task, objectives[rank], rank, one, number)
        for number, (_, rank, _, one) in enumerate(candidates[i] for i in kept)
    )
    if not records:
        reason = (
            f"{settings.max_evaluations} evaluations do not pay for one population; raise max_evaluations"
        )
        return _without_candidates(task, "failed", reason)
    return TaskResult(task.id, task.formula_id, task.space_group, "done", "", evaluations, records)


def _without_candidates(task: ReconstructionTask, status: str, reason: str) -> TaskResult:
    return TaskResult(task.id, task.formula_id, task.space_group, status, reason, 0)


def _amounts(task: ReconstructionTask) -> dict[str, int]:
    species = label_geometry(task.labels[0].label).species
    return {element: species.count(element) for element in sorted(set(species))}


def _known_geometries(objective: Objective, seeds: tuple[Seed, ...]) -> list[Found]:
    """Evaluate the seeds as they are and, where nothing else is free, the predicted cell; the best first.

    The order is that of fitness + ln(weight): the weight is a probability, the fitness (mostly) a log-likelihood.
    """
    geometries = [(s.geometry, s.origin) for s in seeds]
    cells = [g.cell for g, _ in geometries]
    free = [g.free_coords for g, _ in geometries]
    scores = [np.log(g.weight) for g, _ in geometries]
    origins = [(origin, g.count) for g, origin in geometries]
    if objective.pairs.geometry.n_free == 0:
        cells.append(objective.prediction.cell)
        free.append(np.empty(0))
        scores.append(0.0 if not seeds else -np.inf)
        origins.append(("prototype", sum(s.geometry.count for s in seeds)) if seeds else ("search", 0))
    if not cells:
        return []
    exact = impose_from_free(np.stack(cells), objective.prediction.label.space_group)
    evaluation = evaluate(objective, exact, np.stack(free))
    ranked = sorted(range(len(cells)), key=lambda i: (-(scores[i] + evaluation.total[i]), i))
    return [Found(exact[i], np.mod(free[i], 1.0), evaluation.row(i), *origins[i]) for i in ranked]


def _best_of(population: Population) -> list[Found]:
    """The hall of fame of one label, decoded, best first."""
    if not len(population.hall):
        return []
    cells, free_coords = population.layout.decode(np.stack([one.genes for one in population.hall]))
    evaluation: Evaluation = evaluate(population.objective, cells, free_coords)
    return [Found(cells[i], free_coords[i], evaluation.row(i), "search", 0) for i in range(len(cells))]


def _distinct(
    objective: Objective, known: Sequence[Found], searched: Sequence[Found], limit: int
) -> list[Found]:
    """The candidates of one label without duplicates, at most `limit` and the best known geometry.

    Under a predicted map the search's best comes first: on 102 crystals of mp_val with the right label (weight_prior
    0.01) its volume is off by 3.4 % (mean) and its coordinates by 0.019 (median, matcher's units), where the best known
    geometry's are by 4.8 % and 0.024. Without a map's likelihood the best known geometry comes first. It is always
    kept, also as a near twin of the search's best.
    """
    found = [*known, *searched]
    if not found:
        return []
    by_map = bool(searched) and objective.target is not None and objective.settings.weight_map > 0
    leaders = [*(searched[:1] if by_map else []), *known[:1]]
    rest = sorted((f for f in found if f not in leaders), key=lambda f: -f.fitness.total)
    ordered = [*leaders, *rest]
    rows = invariants(
        objective.pairs, np.stack([f.cell for f in ordered]), np.stack([f.free_coords for f in ordered])
    )
    kept = first_of_each(rows, limit)
    if known and len(leaders) - 1 not in kept:
        kept.insert(1, len(leaders) - 1)
    return [ordered[i] for i in kept]


def _candidate(
    task: ReconstructionTask, objective: Objective, rank: int, found: Found, number: int
) -> Candidate:
    prediction = objective.prediction
    return Candidate(
        id=f"{task.id}_{number:03d}",
        task_id=task.id,
        formula_id=task.formula_id,
        formula=task.formula,
        z=prediction.z,
        label=prediction.label,
        label_rank=rank,
        label_log_prob=prediction.log_prob,
        origin=found.origin,
        crystal=objective.pairs.geometry.decode(found.cell, found.free_coords),
        cell=found.cell,
        free_coords=found.free_coords,
        fitness=found.fitness,
        seed=task.seed,
        prototype_count=found.count,
    )


def run_reconstruct(
    task_files: list[Path], settings_file: Path, output: Path, finished_dir: Path | None = None
) -> None:
    """Search all tasks of some files and write one TaskResult a task, in order, to `output`.

    finished_dir: where each result is kept as soon as it is there, so that a killed or repeated job does only what is
    missing; None keeps nothing. Raises UserError for a task id that occurs twice.
    """
    from tqdm import tqdm

    settings = read_section(settings_file, ReconstructSettings)
    tasks = [task for file in task_files for task in read_records(file, ReconstructionTask)]
    if len({task.id for task in tasks}) != len(tasks):
        raise UserError(f"{output}: two tasks have one id; plan again")
    # What the user's crystals are, not where they lie.
    asked = settings.model_dump(mode="json", exclude={"seed_structures"})
    seeds = [file_sha256(Path(f)) for f in settings.seed_structures]
    base = [code_id(*imported_modules("ga/reconstruct")), asked, seeds]
    finished = FinishedResults(finished_dir, TaskResult)
    results = []
    for task in tqdm(tasks, desc="reconstruct", unit="task", mininterval=5):
        key = value_hash([*base, to_plain(task)])
        result = finished.get(task.id, key)
        if result is None:
            result = reconstruct_task(task, settings)
            finished.add(task.id, key, result)
        results.append(result)
    write_records(
        output,
        TaskResult,
        results,
        settings=value_hash(asked),
        seed_structures=seeds,
        code=base[0],
        versions=versions(),
    )
