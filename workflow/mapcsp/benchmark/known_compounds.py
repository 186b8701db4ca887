"""`evaluate-known-compounds`: well-known compounds from their formulas alone, resources/benchmarks/known_compounds.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pymatgen.core import Composition
from tqdm import tqdm

from mapcsp.api.run import predict
from mapcsp.benchmark.known_judge import (
    ENANTIOMORPHS,
    KNOWN_CAUSES,
    MAX_STRAIN,
    CompoundJudge,
    FormulaRun,
    JudgedCompound,
)
from mapcsp.benchmark.known_phases import LIST_FILE, KnownCompound, read_known_compounds
from mapcsp.errors import UserError
from mapcsp.provenance import code_id, current_commit, file_sha256, imported_modules, versions
from mapcsp.records import CandidateSummary, FormulaEntry, FormulaOutcome, RelaxedPool, SymmetryPrediction
from mapcsp.registry import registered_model
from mapcsp.resources import resource_path
from mapcsp.settings import IntakeSettings, Settings, parse_settings
from mapcsp.store import read_csv, read_record, read_records, shard, write_json, write_text
from mapcsp.symmetry.memory import read_memory
from mapcsp.training.geometries import formula_hash

DEPTH, IN_FIVE = 20, 5
# Stages that a prediction runs, and the judge.
CODE = ("symmetry/predict", "maps/predict", "ga/reconstruct", "ga/pool", "relax/relax", "ranking/run")
CRITERIA = {
    "rank": f"StructureMatcher stol .3, ltol .2, angle_tol 5; the listed space group, found at ranking.symprec_ang; and no "
    f"principal strain of the cell beyond {MAX_STRAIN}",
    "rank_by_matcher": "StructureMatcher stol .5, ltol .3, angle_tol 10, nothing else",
    "rank_any_phase": "as rank, for any listed phase of the formula",
    "enantiomorphs": f"the {len(ENANTIOMORPHS)} pairs of enantiomorphic space groups count as one group each",
}


def choose(listed: Sequence[KnownCompound], names: Sequence[str]) -> list[KnownCompound]:
    """The compounds of these formulas, in the list's order, or all; raises UserError for a formula that is not there."""
    unknown = sorted(set(names) - {c.formula for c in listed})
    if unknown:
        raise UserError(
            f"{LIST_FILE} has no {', '.join(unknown)}; write formulas as its first column does, or give none for all"
        )
    return [c for c in listed if not names or c.formula in names]


def known_compound_settings(compounds: Sequence[KnownCompound]) -> Settings:
    """The defaults, but cells as large as the list needs or the product allows, and answers down to rank 20."""
    needed = max(c.ambient.crystal.n_atoms for c in compounds)
    allowed = IntakeSettings.model_json_schema()["properties"]["max_atoms"]["maximum"]
    default, atoms = Settings(), min(needed, allowed)
    return parse_settings(
        {
            "intake": {"max_atoms": atoms},
            "features": {"length": max(default.features.length, atoms)},
            "ranking": {"top_k": DEPTH},
        }
    )


def run_evaluate_known_compounds(
    work_dir: Path, output: Path, cores: int | None, names: Sequence[str] = ()
) -> list[JudgedCompound]:
    """Predict the listed compounds as `mapcsp predict` does, judge them, and write the figures to `output`.

    work_dir: keeps the run; finished formulas are not predicted again. cores: as in `predict`. names: formulas to take, by
    default all. Raises UserError and JobError as `predict` does.
    """
    compounds = choose(read_known_compounds(), names)
    settings = known_compound_settings(compounds)
    write_text(work_dir / "formulas.csv", "\n".join(["formula", *(c.formula for c in compounds), ""]))
    results = (
        predict(work_dir / "formulas.csv", work_dir / "run", cores=cores, settings=settings).folder
        / "results"
    )
    judged = judge_run(results, compounds, settings)
    figures = summarise(judged)
    figures |= {
        "command": "mapcsp evaluate-known-compounds --work WORK --output OUT"
        + "".join(f" {name}" for name in names),
        "commit": current_commit(),
        "code": {"predict": code_id(*imported_modules(*CODE)), "judge": code_id("benchmark/known_judge")},
        "versions": versions(),
        "list": {"name": LIST_FILE, "sha256": file_sha256(resource_path(LIST_FILE))},
        "known": "the formula as people write it, nothing else",
        "criteria": CRITERIA,
        "settings": settings.model_dump(mode="json", exclude={"formulas", "benchmark", "training", "report"}),
    }
    write_json(output, figures)
    return judged


def judge_run(results: Path, compounds: Sequence[KnownCompound], settings: Settings) -> list[JudgedCompound]:
    """Judge a finished run of these compounds, in their order.

    results: folder of the run's results. Raises StoreError for a file that is missing.
    """
    memory = read_memory(registered_model(settings.symmetry.model, "symmetry.model").memory_file)
    trained = frozenset(memory.example_formula.tolist())
    runs = _runs(results, compounds, settings)
    return [
        CompoundJudge(c, run, formula_hash(Composition(c.formula).reduced_formula) in trained).judge()
        for c, run in zip(tqdm(compounds, desc="judge", mininterval=5), runs)
    ]


def _runs(results: Path, compounds: Sequence[KnownCompound], settings: Settings) -> list[FormulaRun]:
    """What the run kept of each compound, found by its line in the list, the first of which is the header."""
    refused = {int(row["line"]): row["reason"] for row in read_csv(results / "intake/rejected.csv")}
    ids = {int(row["line"]): row["id"] for row in read_csv(results / "intake/accepted.csv")}
    folder = "rescore" if settings.rescore.second_potential() else "relax"
    files = sorted((results / folder).rglob("*.jsonl"))
    pools = {pool.formula_id: pool for path in files for pool in read_records(path, RelaxedPool)}
    outcomes = {o.formula_id: o for o in read_records(results / "ranking/outcomes.jsonl", FormulaOutcome)}
    ranked: dict[str, set[str]] = {}
    for summary in read_records(results / "ranking/candidates.jsonl", CandidateSummary):
        if summary.rank is not None:
            ranked.setdefault(summary.formula_id, set()).add(summary.candidate_id)
    runs = []
    for line, _ in enumerate(compounds, start=2):
        if line in refused:
            runs.append(FormulaRun(refused[line]))
            continue
        place = Path(shard(ids[line])) / f"{ids[line]}.jsonl"
        runs.append(
            FormulaRun(
                "",
                read_record(results / "intake/entries" / place, FormulaEntry),
                read_record(results / "symmetry" / place, SymmetryPrediction),
                pools[ids[line]],
                outcomes[ids[line]],
                frozenset(ranked.get(ids[line], ())),
                settings.ranking.symprec_ang,
            )
        )
    return runs


def summarise(judged: Sequence[JudgedCompound]) -> dict[str, Any]:
    """Counts as flat keys, of misses by cause, and the compounds one by one."""
    counts = Counter(j.cause for j in judged)
    figures: dict[str, Any] = {"n": len(judged)}
    for key, ranks in (
        ("", [j.rank for j in judged]),
        ("_by_matcher", [j.rank_by_matcher for j in judged]),
        ("_any_phase", [j.rank_any_phase for j in judged]),
        ("_not_in_training", [j.rank for j in judged if not j.in_training]),
    ):
        figures[f"first{key}"] = sum(rank == 1 for rank in ranks)
        figures[f"in_five{key}"] = sum(rank is not None and rank <= IN_FIVE for rank in ranks)
        figures[f"in_twenty{key}"] = sum(rank is not None for rank in ranks)
    figures["n_not_in_training"] = sum(not j.in_training for j in judged)
    figures["causes"] = {cause: counts[cause] for cause in KNOWN_CAUSES if counts[cause]}
    figures["meaning_of_causes"] = {cause: KNOWN_CAUSES[cause] for cause in figures["causes"]}
    figures["compounds"] = [_rounded(asdict(j)) for j in judged]
    return figures


def _rounded(plain: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in plain.items()}


def table_rows(judged: Sequence[JudgedCompound]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a table for a terminal."""
    headings = [
        "formula",
        "phase",
        "group",
        "rank",
        "by matcher",
        "any phase",
        "first group",
        "strain",
        "cause",
    ]
    cells = [
        (j.formula, j.phase, j.space_group, j.rank, j.rank_by_matcher, j.rank_any_phase, j.first_space_group)
        for j in judged
    ]
    return headings, [
        [
            *("-" if cell is None else str(cell) for cell in row),
            "-" if j.strain is None else f"{j.strain:.3f}",
            j.cause,
        ]
        for row, j in zip(cells, judged)
    ]
