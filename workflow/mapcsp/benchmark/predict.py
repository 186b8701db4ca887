"""Predicts and relaxes the crystals of one chunk of the sample, for one source of candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from mapcsp.benchmark.baselines import TemplateLibrary, random_pool
from mapcsp.benchmark.pipeline import Models, load_models, relax_together, search_formula
from mapcsp.benchmark.records import KnownTarget, PredictionCost
from mapcsp.ga.pool import pool_candidates
from mapcsp.provenance import versions
from mapcsp.records import CandidatePool, RelaxedCandidate, RelaxedPool
from mapcsp.relax.backends import load_potential
from mapcsp.relax.potential import Potential
from mapcsp.settings import SECTIONS, ReconstructSettings, Settings, read_section
from mapcsp.store import read_json, read_records, write_records
from mapcsp.training.encoded import read_encoded

STAGE_SECTIONS = ("symmetry", "maps", "reconstruct", "pool", "relax")
"""Sections of the settings that decide a relaxed pool."""


@dataclass(frozen=True, eq=False)
class Searched:
    """The pool of one formula before relaxation, and what it cost."""

    pool: CandidatePool
    core_s: float
    wall_s: float
    fitness_evaluations: int
    true_label_rank: int | None


def read_stage_settings(folder: Path) -> Settings:
    """Settings of the stages from their frozen sections, and the run's seed."""
    sections = {name: read_section(folder / f"{name}.json", SECTIONS[name]) for name in STAGE_SECTIONS}
    return Settings(seed=read_json(folder / "run.json")["seed"], **sections)  # type: ignore[arg-type]


def search_target(
    target: KnownTarget,
    source: str,
    settings: Settings,
    models: Models,
    library: TemplateLibrary | None,
    n_random: int,
) -> Searched:
    """Candidates of one formula from one source.

    library: for `template`. n_random: candidates wanted from `random`.
    """
    core, wall = time.process_time(), time.perf_counter()
    evaluations, rank = 0, None
    if source == "random":
        pool = random_pool(target.entry, n_random, settings.seed)
    else:
        prediction = models.symmetry(target.entry)
        rank = next(
            (
                i
                for i, p in enumerate(prediction.labels)
                if p.label.key == target.label_key and p.z == target.z
            ),
            None,
        )
        if source == "template":
            if library is None:
                raise ValueError("templates need a library of known crystals")
            pool = library.fill(prediction, settings.pool.size, settings.seed)
        else:
            search = search_settings(source, settings)
            results = search_formula(target.entry, prediction, models, settings, search)
            evaluations = sum(r.evaluations for r in results)
            pool = pool_candidates(results, settings.pool)
    return Searched(pool, time.process_time() - core, time.perf_counter() - wall, evaluations, rank)


def search_settings(source: str, settings: Settings) -> ReconstructSettings:
    """Settings of the genetic search of a source: the papers' own, none beyond the prototypes, or the run's."""
    if source in ("cmcrystal", "dmcrystal"):
        return ReconstructSettings.model_validate({"mode": source})
    if source == "prototype":
        return settings.reconstruct.model_copy(update={"max_evaluations": 0})
    return settings.reconstruct


def relax_searched(
    searched: Sequence[Searched], settings: Settings, potential: Potential | None
) -> tuple[list[RelaxedPool], list[PredictionCost]]:
    """Relax the pools of one chunk together; without a potential they stay as they are.

    Returns pools and costs in the given order.
    """
    core, wall = time.process_time(), time.perf_counter()
    if potential is None:
        pools = [
            RelaxedPool(
                s.pool.formula_id,
                s.pool.formula,
                tuple(RelaxedCandidate(c, "dropped", "not relaxed") for c in s.pool.candidates),
            )
            for s in searched
        ]
    else:
        pools = relax_together([s.pool for s in searched], settings, potential)
    core, wall = time.process_time() - core, time.perf_counter() - wall
    work = [sum(_evaluations(r) * r.candidate.crystal.n_atoms for r in pool.candidates) for pool in pools]
    total = max(sum(work), 1)
    costs = [
        PredictionCost(
            pool.formula_id,
            s.core_s,
            core * own / total,
            s.wall_s + wall * own / total,
            s.fitness_evaluations,
            sum(_evaluations(r) for r in pool.candidates),
            s.true_label_rank,
        )
        for s, pool, own in zip(searched, pools, work)
    ]
    return pools, costs


def _evaluations(relaxed: RelaxedCandidate) -> int:
    return 0 if relaxed.initial_energy_ev_per_atom is None else relaxed.n_steps + 1


def run_predict(
    targets_file: Path,
    source: str,
    settings_folder: Path,
    weights: Path | None,
    output: Path,
    cost_file: Path,
    full_pools: Path | None,
    templates: Sequence[Path],
) -> None:
    """Write the relaxed pools of one chunk and what each cost.

    full_pools: the chunk's pools of the source `full`, for `random`, which relaxes as many. templates: encoded crystals,
    for `template`. Raises UserError as the stages do.
    """
    # One thread: sums in another order would change last digits, and results must not depend on the cores.
    torch.set_num_threads(1)
    settings = read_stage_settings(settings_folder)
    targets = read_records(targets_file, KnownTarget)
    models = load_models(settings)
    library = (
        TemplateLibrary([row for path in templates for row in read_encoded(path)]) if templates else None
    )
    counts = (
        {p.formula_id: len(p.candidates) for p in read_records(full_pools, RelaxedPool)} if full_pools else {}
    )
    searched = [
        search_target(t, source, settings, models, library, counts.get(t.entry.id, settings.pool.size))
        for t in tqdm(targets, desc=source, mininterval=5)
    ]
    potential = (
        None
        if source == "template"
        else load_potential(settings.relax.potential, settings.relax.device, weights)
    )
    pools, costs = relax_searched(searched, settings, potential)
    write_records(output, RelaxedPool, pools, versions=versions())
    write_records(cost_file, PredictionCost, costs)
