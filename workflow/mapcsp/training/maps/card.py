"""Writes the card of a map network from its metrics.json, its loss curve and the figures of the papers' experiments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from mapcsp.store import read_csv, read_json, write_text
from mapcsp.training.cards import curve_table, key_table, markdown_table, number, settings_lines
from mapcsp.training.curves import draw_curve
from mapcsp.training.maps.card_text import (
    ABOUT,
    BARS,
    COLUMNS,
    DATA,
    DECODED,
    EXPERIMENT_COLUMNS,
    LINES,
    MEANING,
)


def write_card(folder: Path, experiments: Mapping[str, Mapping[str, Any]]) -> None:
    """Write card.md and curve.svg to a model folder, from its metrics.json and curve.csv and the papers' experiments."""
    title, text = ABOUT.get(folder.name, (folder.name, "A map network."))
    metrics = read_json(folder / "metrics.json")
    judged = f"{metrics['crystals']} crystals of {', '.join(metrics['split'])} (at most 12 atoms)"
    learned = f"trained on {', '.join(metrics['trained_on'])}"
    parts = [
        f"# {title}",
        "Written by `snakemake --snakefile workflow/Snakefile.training train_maps` from metrics.json and curve.csv;"
        " edits are lost.",
        text,
        f"Parameters: {metrics['parameters']}. Judged on {judged}, {learned}; commit {metrics['commit']}.",
        "## Figures",
        _scores_table(metrics),
        MEANING,
    ]
    given = {k: v for k, v in metrics.items() if k.endswith("_label_given")}
    if given:
        parts += ["With the symmetry label and the cell given:", key_table(given)]
    parts += [*_bars(folder.name, metrics, experiments), *_scrambling(folder / "scrambling.json")]
    if "training" in metrics:
        parts += ["## Settings", "\n".join(["```", *settings_lines(metrics["training"], "training"), "```"])]
    if experiments:
        parts += ["## The papers' experiments", experiments_table(experiments), DECODED]
    if (folder / "curve.csv").exists():
        draw_curve(folder / "curve.csv", folder / "curve.svg")
        picture = "![Losses and figures of the held-out crystals by epoch](curve.svg)"
        parts += ["## Loss curve", picture, curve_table(read_csv(folder / "curve.csv"))]
    figures = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    parts += ["## Data", DATA, "## All figures", key_table(figures)]
    write_text(folder / "card.md", "\n\n".join(parts) + "\n")


def _bars(name: str, metrics: Mapping[str, Any], experiments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What stands between the figures and the bars of the project."""
    figures = dict(metrics) | {f"{n}_{k}": v for n, row in experiments.items() for k, v in row.items()}
    numbers = {k: number(v) for k, v in figures.items()}
    texts = [t.format(**numbers) for t in BARS.get(name, ()) if _fields(t) <= numbers.keys()]
    return ["## Bars", *texts] if texts else []


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _scrambling(path: Path) -> list[str]:
    """What the same short training learns from true and from scrambled maps."""
    if not path.exists():
        return []
    found = read_json(path)
    columns = [(k, t) for k, t in COLUMNS if "aligned" in k]
    header = ["learned from", "RMSE aligned / Å", "Dice aligned", "perfect aligned"]
    rows = [
        [name, *(number(found["figures"][key][k]) for k, _ in columns)]
        for key, name in (
            ("true_maps", "true maps"),
            ("scrambled_maps", "scrambled maps"),
            ("mean_map", "nothing: mean map of the same atom counts"),
        )
    ]
    text = (
        "Written by `python -m mapcsp.training.maps.run scramble`: two networks like this one, trained for {epochs} epochs"
        " on {crystals_trained} crystals, one of them with the maps dealt out anew among crystals of equal atom counts. Both"
        " are given label and cell of the crystals of {split}."
    ).format(**found | {"split": ", ".join(found["split"])})
    return ["## Scrambled maps", text, markdown_table(header, rows)]


def _scores_table(metrics: Mapping[str, Any]) -> str:
    keys = [(k, title) for k, title in COLUMNS if k in metrics]
    rows = [
        [name, *(number(metrics.get(prefix + k)) for k, _ in keys)]
        for prefix, name in LINES
        if any(prefix + k in metrics for k, _ in keys)
    ]
    return markdown_table(["", *(title for _, title in keys)], rows)


def experiments_table(experiments: Mapping[str, Mapping[str, Any]]) -> str:
    """The papers' experiments, one a row, with the papers' figures and the baselines beside ours."""
    rows = {n: {**row, "epochs": row["training"]["loop"]["epochs"]} for n, row in sorted(experiments.items())}
    keys, titles = zip(*EXPERIMENT_COLUMNS)
    lines = [[name, *(number(row.get(k)) for k in keys)] for name, row in rows.items()]
    return markdown_table(["experiment", *titles], lines)
