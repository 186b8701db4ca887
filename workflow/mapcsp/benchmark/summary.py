"""Gathers the judged chunks of a benchmark into its results: parquet, CSV, JSON, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapcsp.benchmark.figures import (
    EIGHT,
    RANKS,
    Outcome,
    counted_matches,
    summarise_costs,
    summarise_variant,
)
from mapcsp.benchmark.judge import Judged
from mapcsp.benchmark.page import write_page
from mapcsp.benchmark.records import KnownTarget, PredictionCost, RescoreCost
from mapcsp.benchmark.tables import markdown
from mapcsp.benchmark.targets import chunks_of
from mapcsp.benchmark.variants import VARIANTS, left_out
from mapcsp.provenance import code_id, current_commit, imported_modules, versions
from mapcsp.settings import SECTIONS, Settings, read_section
from mapcsp.store import (
    read_header,
    read_json,
    read_records,
    write_csv,
    write_json,
    write_parquet,
    write_text,
)

SETTINGS_THAT_COUNT = ("symmetry", "maps", "reconstruct", "pool", "relax", "rescore", "ranking", "benchmark")


def run_summary(folder: Path, settings_folder: Path, variants: Sequence[str], output: Path) -> None:
    """Write the results of a benchmark whose chunks are all judged.

    folder: of the benchmark, with sample/, cost/, rescore_cost/ and judged/. variants: that ran.
    Writes crystals.parquet, crystals.csv, figures.json, table.md and index.html to output.
    Raises StoreError for a chunk that is missing.
    """
    settings = read_settings(settings_folder)
    sample = read_json(folder / "sample" / "sample.json")
    outcomes = {name: read_outcomes(folder, name, settings) for name in variants}
    figures = {
        **provenance(settings, sorted((folder / "judged").glob("*/*.jsonl"))),
        **headline(outcomes),
        "sample": {**{k: v for k, v in sample.items() if k != "chunks"}, **describe_sample(outcomes)},
        "left_out": {name: reason for name, reason in left_out(settings).items() if name not in variants},
        "variants": {name: _figures(rows) for name, rows in outcomes.items()},
    }
    common = min(len(rows) for rows in outcomes.values())
    if common < max(len(rows) for rows in outcomes.values()):
        # Variants compare only on the same crystals.
        figures["common_crystals"] = common
        figures["variants_on_common"] = {n: _figures(rows[:common]) for n, rows in outcomes.items()}
    columns, rows = crystal_rows(outcomes)
    write_parquet(output / "crystals.parquet", columns, rows)
    write_csv(output / "crystals.csv", columns, rows)
    write_json(output / "figures.json", figures)
    write_text(output / "table.md", markdown(figures))
    write_page(output / "index.html", figures, columns, rows)


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return summarise_variant(outcomes) | summarise_costs(outcomes)


def read_settings(folder: Path) -> Settings:
    """The settings that decide a benchmark's figures, from their frozen sections."""
    sections = {name: read_section(folder / f"{name}.json", SECTIONS[name]) for name in SETTINGS_THAT_COUNT}
    return Settings(seed=read_json(folder / "run.json")["seed"], **sections)  # type: ignore[arg-type]


def read_outcomes(folder: Path, variant: str, settings: Settings) -> list[Outcome]:
    """Everything about the crystals that a variant ran on, in the order of the sample."""
    source = VARIANTS[variant].source
    drawn = settings.benchmark
    count = drawn.count if source == "full" else min(drawn.count, drawn.variant_count)
    outcomes: list[Outcome] = []
    for chunk in chunks_of(folder / "sample" / "sample.json", count):
        targets = read_records(folder / "sample" / "targets" / f"{chunk}.jsonl", KnownTarget)
        costs = read_records(folder / "cost" / source / f"{chunk}.jsonl", PredictionCost)
        rescored = folder / "rescore_cost" / source / f"{chunk}.jsonl"
        seconds: dict[str, RescoreCost] = {}
        if VARIANTS[variant].rescored and settings.rescore.second_potential():
            seconds = {c.formula_id: c for c in read_records(rescored, RescoreCost)}
        judged = {
            j.formula_id: j
            for j in read_records(folder / "judged" / source / f"{chunk}.jsonl", Judged)
            if j.variant == variant
        }
        outcomes += [
            Outcome(t, judged[t.entry.id], c, seconds.get(t.entry.id), VARIANTS[variant].relaxed)
            for t, c in zip(targets, costs)
        ]
    return outcomes[:count]


def provenance(settings: Settings, judged: Sequence[Path]) -> dict[str, Any]:
    """How to make these figures again: the command, the commit, hashes of the code that ran, versions and settings.

    judged: files of the judged chunks, which say what made them.
    """
    return {
        "command": command_of(settings),
        "commit": current_commit(),
        "code": {name: code_id(*imported_modules(f"benchmark/{name}")) for name in ("predict", "judge")},
        "versions": versions(headers=map(read_header, judged)),
        "settings": {
            "seed": settings.seed,
            **{n: getattr(settings, n).model_dump(mode="json") for n in SETTINGS_THAT_COUNT},
        },
    }


def command_of(settings: Settings) -> str:
    """The shortest command with these settings: those that are not the default are named."""
    parts = [f"seed={settings.seed}"] if settings.seed != Settings().seed else []
    for name in SETTINGS_THAT_COUNT:
        own, default = getattr(settings, name), getattr(Settings(), name)
        changed = {
            k: v for k, v in own.model_dump(mode="json").items() if v != default.model_dump(mode="json")[k]
        }
        if changed:
            parts.append(f"'{name}={{{', '.join(f'{k}: {_yaml(v)}' for k, v in changed.items())}}}'")
    return " ".join(["snakemake --cores all benchmark", *(["--config", *parts] if parts else [])])


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def headline(outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """The first variant's match rates against the target, loose, as flat keys."""
    variant, rows = next(iter(outcomes.items()))
    figures = summarise_variant(rows)
    return {"variant": variant, "crystals": len(rows), **figures["target"]["loose"]} | {
        "space_group_found": figures["space_group_found"]
    }


def describe_sample(outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """Of what the sample is made; leaks are counted here."""
    targets = [o.target for o in max(outcomes.values(), key=len)]
    return {
        "formulas": len({t.entry.formula for t in targets}),
        "on_hull": sum(bool(t.on_hull) for t in targets),
        "trained_formulas": sum(t.trained for t in targets),
        "with_polymorphs": sum(bool(t.polymorphs) for t in targets),
    }


def crystal_rows(outcomes: dict[str, list[Outcome]]) -> tuple[list[str], list[list[Any]]]:
    """One row a crystal and variant, for parquet and CSV."""
    rows = [_crystal_row(name, outcome) for name, each in outcomes.items() for outcome in each]
    return list(rows[0]), [list(row.values()) for row in rows]


def _crystal_row(variant: str, outcome: Outcome) -> dict[str, Any]:
    target, judged, cost = outcome.target, outcome.judged, outcome.cost
    row: dict[str, Any] = {
        "variant": variant,
        "material_id": target.entry.id,
        "formula": target.entry.formula,
        "n_atoms": target.crystal.n_atoms,
        "z": target.z,
        "true_label": target.label_key,
        "on_hull": target.on_hull,
        "trained": target.trained,
        "n_polymorphs": len(target.polymorphs),
        "n_answers": len(judged.valid),
        "cause": judged.cause,
        "true_label_rank": None if cost.true_label_rank is None else cost.true_label_rank + 1,
        "space_group": judged.space_group,
        "space_group_found": judged.space_group_found,
        "probability": judged.probability,
        "passes_published_filter": judged.target_valid,
    }
    for tolerance in ("loose", "strict"):
        for counting in ("target", "polymorph", "published_filter"):
            matches = counted_matches(outcome, counting, tolerance)
            places = [place for place, rms in enumerate(matches, start=1) if rms is not None]
            row[f"{counting}_{tolerance}_rank"] = places[0] if places else None
        for k in RANKS:
            hits = [rms for rms in counted_matches(outcome, "target", tolerance)[:k] if rms is not None]
            row[f"rms_{tolerance}_at_{k}"] = min(hits, default=None)
    for name in EIGHT:
        row[f"first_{name}"] = None if judged.distances is None else getattr(judged.distances, name)
    row["core_s"] = round(outcome.core_s, 3)
    row["fitness_evaluations"] = cost.fitness_evaluations
    row["energy_evaluations"] = cost.energy_evaluations if outcome.relaxed else 0
    row["second_energies"] = outcome.rescore.energies if outcome.rescore else 0
    return row
