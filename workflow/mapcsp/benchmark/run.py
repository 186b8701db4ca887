"""The benchmark's command: known crystals in, one table of figures out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mapcsp.benchmark.judge import RANKS, VARIANTS, judge_pool, summarise
from mapcsp.benchmark.pools import pair_targets, relaxed_pools
from mapcsp.ranking.model import load_ranker
from mapcsp.settings import Settings
from mapcsp.store import write_csv, write_json, write_text
from mapcsp.training.symmetry_run import encoded_table
from mapcsp.training.tables import read_structures


def run_benchmark(
    table: Path,
    count: int,
    max_atoms: int,
    seed: int,
    z_known: bool,
    settings: Settings,
    work_dir: Path,
    output_dir: Path,
) -> None:
    """Predict `count` crystals of a structure table from their formulas and judge the answers.

    z_known: give the true z. work_dir: relaxed pools, from which a stopped run goes on. Writes figures.json, crystals.csv
    and table.md to output_dir.
    """
    known = read_structures([table], max_atoms)
    targets = pair_targets(known, encoded_table(table, work_dir))
    order = np.random.default_rng(seed).permutation(len(targets))[:count]
    targets = [targets[i] for i in order]
    settings = settings.model_copy(
        update={"intake": settings.intake.model_copy(update={"max_atoms": min(max_atoms, 24)})}
    )
    pools = relaxed_pools(
        targets, settings, work_dir / f"pools-{table.stem}-{max_atoms}-{seed}-{z_known}", False, z_known
    )
    ranker = load_ranker()
    judged = [judge_pool(p, t, ranker, settings.ranking) for p, t in zip(tqdm(pools, desc="judge"), targets)]
    figures = summarise(judged)
    figures["settings"] = {
        "table": table.name,
        "count": count,
        "max_atoms": max_atoms,
        "seed": seed,
        "known": "formula and z" if z_known else "formula",
        "ranker_fitted": ranker.fitted,
        "pool_size": settings.pool.size,
        "reconstruct": settings.reconstruct.model_dump(),
    }
    write_json(output_dir / "figures.json", figures)
    columns = ("material_id", "formula", "n_atoms", "on_hull", "space_group_found", "claimed", "cause")
    write_csv(output_dir / "crystals.csv", columns, [[asdict(j)[c] for c in columns] for j in judged])
    write_text(output_dir / "table.md", figures_table(figures))


def figures_table(figures: dict) -> str:
    """Match rates as a Markdown table, in per cent."""
    lines = [
        "| order of the answers | matcher | " + " | ".join(f"@{k}" for k in RANKS) + " |",
        "|---|---|" + "---|" * len(RANKS),
    ]
    for variant in VARIANTS:
        for tolerance in ("loose", "strict"):
            rates = figures[f"{variant}_{tolerance}"]
            cells = []
            for k in RANKS:
                low, high = rates[f"match_rate_at_{k}_interval"]
                cells.append(f"{100 * rates[f'match_rate_at_{k}']:.1f} ({100 * low:.0f}–{100 * high:.0f})")
            lines.append(f"| {variant} | {tolerance} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
