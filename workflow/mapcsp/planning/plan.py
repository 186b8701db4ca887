"""The plan stage: one search for each (formula, space group), and the jobs that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapcsp.elements import composition_key
from mapcsp.errors import StoreError
from mapcsp.planning.groups import group_items, hash_bits
from mapcsp.provenance import derive_seed
from mapcsp.records import FormulaMaps, LabelPrediction, PredictedMap, ReconstructionTask, SymmetryPrediction
from mapcsp.settings import PlanSettings, read_section
from mapcsp.store import read_json, read_maps, read_record, shard, write_json, write_records
from mapcsp.symmetry.geometry import label_geometry

# ASSUME: 1e-5 Å and 1e-5 of a probability are far below the error of any predicted map; it halves the task files.
MAP_DECIMALS = 5
# Most searches and formulas a job, by the length of the list up to which they hold. Measured at default settings, in
# CPU-seconds: a search takes 0.16, a relaxed formula 8; a job costs 1.0 (searches), 0.8 (pool) or 3.4 (relaxation) before
# it does anything, and on a cluster 2.4 more. A group is 0.7 full on average. A short list is spread over many cores; beyond
# 50 formulas, what the cluster takes for jobs stays below a tenth of the work.
JOB_SIZES = ((10, 1, 1), (50, 20, 4), (500, 100, 20))
LARGEST_JOB_SIZES = 200, 40


def run_plan(
    intake_dir: Path,
    symmetry_dir: Path,
    maps_dir: Path,
    settings_file: Path,
    run_file: Path,
    output_dir: Path,
) -> None:
    """Write a task file for each search and the two tables that deal searches and formulas into jobs.

    run_file: JSON with the run's `seed`. Files in `output_dir`: tasks/<shard>/<formula id>/<space group>.jsonl, each a
    ReconstructionTask that depends on its own formula alone; buckets.json, task files by reconstruction job;
    chunks.json, formulas by relaxation job, with the reconstruction jobs that hold their searches.
    Raises StoreError if a prediction is missing, is of another formula, or a label has no map.
    """
    settings = read_section(settings_file, PlanSettings)
    run_seed: int = read_json(run_file)["seed"]
    ids: list[str] = read_json(intake_dir / "index.json")["ids"]
    files: dict[str, str] = {}
    tasks_of: dict[str, list[str]] = {}
    for identifier in ids:
        symmetry_file = symmetry_dir / shard(identifier) / f"{identifier}.jsonl"
        maps_file = maps_dir / shard(identifier) / f"{identifier}.safetensors"
        prediction, maps = read_record(symmetry_file, SymmetryPrediction), read_maps(maps_file)
        for file, found in ((symmetry_file, prediction.id), (maps_file, maps.id)):
            if found != identifier:
                raise StoreError(
                    f"{file} is of formula {found}, expected {identifier}; delete it and run snakemake again"
                )
        tasks = plan_formula(prediction, maps, run_seed)
        tasks_of[identifier] = [task.id for task in tasks]
        for task in tasks:
            files[task.id] = f"tasks/{shard(identifier)}/{identifier}/{task.space_group}.jsonl"
            write_records(output_dir / files[task.id], ReconstructionTask, [task])
    searches = [(task, hash_bits(identifier, task)) for identifier in ids for task in tasks_of[identifier]]
    tasks_per_job, formulas_per_chunk = job_sizes(settings, len(ids))
    buckets = group_items(searches, tasks_per_job)
    bucket_of = {task: bucket for bucket, members in buckets.items() for task in members}
    chunks = group_items([(i, hash_bits(i)) for i in ids], formulas_per_chunk)
    write_json(
        output_dir / "buckets.json", {b: [files[task] for task in members] for b, members in buckets.items()}
    )
    write_json(
        output_dir / "chunks.json",
        {
            chunk: {
                "formulas": members,
                "buckets": sorted({bucket_of[t] for i in members for t in tasks_of[i]}),
            }
            for chunk, members in chunks.items()
        },
    )


def job_sizes(settings: PlanSettings, n_formulas: int) -> tuple[int, int]:
    """Searches a reconstruction job and formulas a relaxation job; where the settings say 0, by the list's length."""
    fitting = (sizes for length, *sizes in JOB_SIZES if n_formulas <= length)
    tasks, formulas = next(fitting, LARGEST_JOB_SIZES)
    return settings.tasks_per_job or tasks, settings.formulas_per_chunk or formulas


def plan_formula(
    prediction: SymmetryPrediction, maps: FormulaMaps, run_seed: int
) -> tuple[ReconstructionTask, ...]:
    """The searches of one formula, one a space group to run, in the order of their probability.

    A space group without a label becomes a task of status `infeasible`. Raises StoreError if a label has no map.
    """
    map_of = {(m.z, m.label_key): m for m in maps.maps}
    tasks = []
    for space_group, probability in prediction.space_groups:
        labels = tuple(p for p in prediction.labels if p.label.space_group == space_group)
        tasks.append(
            ReconstructionTask(
                id=f"{prediction.id}-{space_group}",
                formula_id=prediction.id,
                formula=prediction.formula,
                space_group=space_group,
                space_group_prob=probability,
                seed=_task_seed(run_seed, labels),
                labels=labels,
                maps=_maps_of(prediction.id, labels, map_of),
                status="ready" if labels else "infeasible",
                reason=""
                if labels
                else f"no assignment of Wyckoff positions of space group {space_group} is predicted",
            )
        )
    return tuple(tasks)


def _task_seed(run_seed: int, labels: Sequence[LabelPrediction]) -> int:
    """The seed of one search, from run seed, composition and space group: not from the row's id or how it was written.

    A search holds labels of several z; each label's own seed is made of this one, its z and its name. The same label thus
    starts from the same seed in every list, whether z was given or not. A search without labels draws nothing.
    """
    if not labels:
        return 0
    label = labels[0].label
    return derive_seed(run_seed, composition_key(label_geometry(label).species), label.space_group)


def _maps_of(
    identifier: str, labels: Sequence[LabelPrediction], map_of: dict[tuple[int, str | None], PredictedMap]
) -> tuple[PredictedMap, ...]:
    maps = []
    for label in labels:
        # A network that knows only the content gives one map for all labels of a z.
        found = map_of.get((label.z, label.label.key)) or map_of.get((label.z, None))
        if found is None:
            raise StoreError(
                f"the maps of {identifier} hold none for label {label.label.key} with z = {label.z}; "
                "delete results/maps and run snakemake again"
            )
        maps.append(
            replace(
                found,
                distance_ang=np.round(found.distance_ang, MAP_DECIMALS),
                spread_ang=np.round(found.spread_ang, MAP_DECIMALS),
                contact_prob=np.round(found.contact_prob, MAP_DECIMALS),
            )
        )
    return tuple(maps)
