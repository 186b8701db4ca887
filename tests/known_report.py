"""A finished run in files, of the known pools, for the tests of its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import known_pools as known
import numpy as np
from mapcsp.ranking import run_rank
from mapcsp.records import CandidatePool, FormulaMaps, PredictedMap, RelaxedCandidate, RelaxedPool
from mapcsp.report import run_report
from mapcsp.settings import SECTIONS, RankingSettings, ReportSettings
from mapcsp.store import write_csv, write_json, write_maps, write_records

SECOND = "sevennet-l3i5"


def salt_map() -> FormulaMaps:
    crystal = known.rocksalt()
    distance = np.array([[0.0, 2.9], [2.9, 0.0]])
    contact = np.array([[0.0, 0.9], [0.9, 0.0]])
    prediction = PredictedMap(
        1, known.ROCKSALT.key, crystal.species, distance, np.array([[0.0, 0.2], [0.2, 0.0]]), contact
    )
    return FormulaMaps("NaCl", (prediction,))


def with_everything(relaxed: RelaxedCandidate) -> RelaxedCandidate:
    """The candidate as a run leaves it that had known phases, a one-pass relaxation and a second potential."""
    if relaxed.energy_ev_per_atom is None:
        return relaxed
    rescored = not relaxed.candidate.id.startswith("blende")
    return replace(
        relaxed,
        candidate=replace(relaxed.candidate, prerelax_uncertainty_ang=0.087),
        energy_above_hull_ev_per_atom=relaxed.energy_ev_per_atom + 3.41,
        symmetry_kept=relaxed.candidate.id != "blende-1",
        rescored_energy_ev_per_atom=1.1 * relaxed.energy_ev_per_atom if rescored else None,
        rescored_by=SECOND if rescored else "",
    )


def write_run(folder: Path, *pools: RelaxedPool) -> Path:
    """Write what the report reads; without `pools`, those of NaCl, SrTiO3 and a failed XeF2."""
    chosen = pools or (known.salt_pool(), known.oxide_pool(), known.empty_pool())
    searched = {pool.formula_id: pool for pool in known.candidate_pools()}
    for pool in chosen:
        candidates = tuple(r.candidate for r in pool.candidates)
        searched.setdefault(pool.formula_id, CandidatePool(pool.formula_id, pool.formula, candidates))
    write_json(folder / "intake" / "index.json", {"ids": [pool.formula_id for pool in chosen]})
    accepted = [
        (
            line,
            pool.formula_id,
            pool.formula,
            pool.formula,
            "1",
            "true" if pool.formula == "NaCl" else "false",
            None,
        )
        for line, pool in enumerate(chosen, start=2)
    ]
    columns = ("line", "id", "formula", "as_given", "z_allowed", "z_given", "space_group")
    write_csv(folder / "intake" / "accepted.csv", columns, accepted)
    rejected = [(len(chosen) + 2, "<script>alert(1)</script>", "not a formula")]
    write_csv(folder / "intake" / "rejected.csv", ("line", "content", "reason"), rejected)
    write_records(folder / "pools.jsonl", CandidatePool, list(searched.values()))
    write_records(folder / "relaxed.jsonl", RelaxedPool, list(chosen))
    settings = {name: section() for name, section in SECTIONS.items()} | {
        "ranking": RankingSettings(),
        "report": ReportSettings(title="Salt & co"),
    }
    for name, section in settings.items():
        write_json(folder / "settings" / f"{name}.json", section.model_dump(mode="json"))
    write_json(folder / "settings" / "run.json", {"seed": 1})
    write_maps(folder / "maps" / "NaCl.safetensors", salt_map())
    run_rank(
        [folder / "relaxed.jsonl"],
        [folder / "pools.jsonl"],
        folder / "intake" / "index.json",
        folder / "settings" / "ranking.json",
        folder / "ranking",
    )
    return folder


def write_page(folder: Path, output: Path) -> str:
    """Write the report of a run, and return its text."""
    maps = [folder / "maps" / "NaCl.safetensors"]
    run_report(folder / "ranking", folder / "intake", folder / "settings" / "report.json", output, maps)
    return output.read_text(encoding="utf-8")
