"""Writes the card of a map network from its metrics.json, its loss curve and the figures of the papers' experiments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from mapcsp.store import read_csv, read_json, write_text
from mapcsp.training.curves import draw_curve

ABOUT = {
    "maps": (
        "Default map network: corrects the distances of a label's likely geometry",
        "A network over pairs of atoms (attention over atoms, exchange over triangles). It is given a symmetry"
        " label, a cell and,"
        " where known, a geometry of the label, and predicts for each pair of atoms an expected distance, its spread and the"
        " probability of a contact. Trained on pairs of crystals with one label; atoms of one element were aligned once"
        " beforehand, so that no order of atoms is learned.",
    ),
    "alphacrystal": (
        "AlphaCrystal's contact map network",
        "The residual network of AlphaCrystal (nine 1D and nine 2D blocks), trained on contact maps. Departures"
        " from the paper:"
        " the 2D filters are narrower where the settings below say so, padding is masked, maps are symmetric,"
        " features are scaled, and the training settings below are ours (dropout, noise on the elements' features, pairs of"
        " two metals left out of the loss).",
    ),
    "alphacrystal2": (
        "AlphaCrystal-II's distance map network",
        "The residual network of AlphaCrystal-II (nine 1D and nine 2D blocks), trained on distances in equal-width groups."
        " Departures from the paper: the 2D filters are narrower where the settings below say so, padding is"
        " masked, maps are"
        " symmetric, features are scaled.",
    ),
}
DATA = (
    "Training crystals: Materials Project slices (MP-20, MPTS-52) and WBM, at most 24 atoms (papers' networks:"
    " 12). The papers drew"
    " training and test crystals at random from the whole Materials Project; here no reduced formula of the"
    " test crystals occurs in"
    " training, polymorphs included. Sources and licence: Materials Project (Jain et al. 2013), CC BY 4.0;"
    " MP-20 split: Xie et al.,"
    " arXiv 2110.06197; MPTS-52: Baird and Sparks, doi 10.6084/m9.figshare.19991516; WBM: Wang, Botti, Marques,"
    " npj Comput. Mater. 7,"
    " 12 (2021), CC BY 4.0."
)
MEANING = (
    "Distances: over pairs of different atoms, minimum image, root mean square per crystal, then the mean over"
    " crystals. Overlap:"
    " share of pairs below 8 Å predicted below 8 Å. Contacts: on the crystals of AlphaCrystal's test (lowest"
    " formation energy of each"
    " formula, not all-metal), Dice overlap and share of perfect maps. Plain keys compare row by row, atoms"
    " grouped by element in the"
    " order of the table; atoms of one element have no order, so that even the true map with its rows shuffled scores badly"
    " (`baseline_true_map_shuffled_…`). Aligned keys exchange atoms of one element to fit best."
)
_COLUMNS = (
    ("distance_rmse_ang", "RMSE / Å"),
    ("distance_rmse_aligned_ang", "aligned / Å"),
    ("distance_overlap", "overlap"),
    ("contact_accuracy", "Dice"),
    ("contact_accuracy_aligned", "aligned"),
    ("contact_perfect", "perfect"),
    ("contact_perfect_aligned", "aligned"),
)
_LINES = (
    ("", "this network"),
    ("baseline_nearest_", "nearest training crystal, elements replaced"),
    ("baseline_mean_map_", "mean map of the same atom counts"),
    ("baseline_true_map_likely_rows_", "true map, rows as the nearest crystal of its label lists them"),
    ("baseline_true_map_alike_", "best map that treats the atoms of an element alike"),
    ("baseline_true_map_shuffled_", "true map, rows shuffled within elements"),
)

_BARS = {
    "alphacrystal": (
        "A mean Dice overlap of 0.88 was aimed at. It is {contact_accuracy} with contacts cut at"
        " {contact_threshold}, the cut with the highest overlap on formulas held out of training (the paper names"
        " none), and {contact_accuracy_cut_at_half} cut at one half. The network knows neither the symmetry nor"
        " which atom of an element comes first: such atoms have the same features and differ by their rows alone. A"
        " map that treats them alike overlaps with the true ones by {baseline_true_map_alike_contact_accuracy} at"
        " most, and is perfect for {baseline_true_map_alike_contact_perfect} of the crystals, even where every"
        " structure is known. The true map with such atoms shuffled scores"
        " {baseline_true_map_shuffled_contact_accuracy}, the nearest training crystal"
        " {baseline_nearest_contact_accuracy}.",
        "Learning curve: {contact_1k_contact_accuracy} from {contact_1k_crystals_trained} training crystals,"
        " {contact_3k_contact_accuracy} from {contact_3k_crystals_trained}, {contact_contact_accuracy} from"
        " {contact_crystals_trained}, the paper's number. All {crystals_trained} crystals, polymorphs and alloys"
        " too, with distances learned beside contacts (`contact_all`), give {contact_accuracy}: the network shipped"
        " here.",
        "Trained on maps dealt out anew among crystals of equal atom counts (`contact_scrambled`), it scores"
        " {contact_scrambled_contact_accuracy} at its own cut of {contact_scrambled_contact_threshold}, and"
        " {contact_scrambled_contact_accuracy_cut_at_half} cut at one half: much of the overlap comes from the atom"
        " counts and from which elements can bond.",
    ),
    "maps": (
        "A mean Dice overlap of 0.92 and 60 % perfect maps were aimed at. Row by row, of the likeliest labels'"
        " maps in their likeliest orders of rows the one with the highest expected sum of both is chosen:"
        " {contact_accuracy} and {contact_perfect}. The true map itself, in the order in which the nearest training"
        " crystal of its label lists its atoms, scores {baseline_true_map_likely_rows_contact_accuracy} and"
        " {baseline_true_map_likely_rows_contact_perfect}: what is missing to 1 there is an order, not a structure."
        " The map of the likeliest label scores {oracle_order_contact_accuracy} if the true map may choose among"
        " its likely orders. Aligned, the network has {contact_accuracy_aligned} and {contact_perfect_aligned}.",
        "An overlap of distances of at least 0.999 was aimed at. It is {distance_overlap}: a pair is put beyond 8"
        " Å only where its chance to lie within is below 5 %. The true map in that order has"
        " {baseline_true_map_likely_rows_distance_overlap}, and the mean map, which is never that far, 1.",
    ),
}
"""What is said about bars, filled from figures; a text without one of its figures is left out."""


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
        parts += ["With the symmetry label and the cell given:", _key_table(given)]
    parts += [*_bars(folder.name, metrics, experiments), *_scrambling(folder / "scrambling.json")]
    if "training" in metrics:
        parts += ["## Settings", "\n".join(["```", *_flat(metrics["training"], "training"), "```"])]
    if experiments:
        parts += ["## The papers' experiments", experiments_table(experiments)]
    if (folder / "curve.csv").exists():
        draw_curve(folder / "curve.csv", folder / "curve.svg")
        picture = "![Losses and figures of the held-out crystals by epoch](curve.svg)"
        parts += ["## Loss curve", picture, _curve_table(read_csv(folder / "curve.csv"))]
    figures = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    parts += ["## Data", DATA, "## All figures", _key_table(figures)]
    write_text(folder / "card.md", "\n\n".join(parts) + "\n")


def _bars(name: str, metrics: Mapping[str, Any], experiments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What stands between the figures and the bars of the project."""
    figures = dict(metrics) | {f"{n}_{k}": v for n, row in experiments.items() for k, v in row.items()}
    numbers = {k: _number(v) for k, v in figures.items()}
    texts = [t.format(**numbers) for t in _BARS.get(name, ()) if _fields(t) <= numbers.keys()]
    return ["## Bars", *texts] if texts else []


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def _scrambling(path: Path) -> list[str]:
    """What the same short training learns from true and from scrambled maps."""
    if not path.exists():
        return []
    found = read_json(path)
    columns = [(k, t) for k, t in _COLUMNS if "aligned" in k]
    header = ["learned from", "RMSE aligned / Å", "Dice aligned", "perfect aligned"]
    rows = [
        [name, *(_number(found["figures"][key][k]) for k, _ in columns)]
        for key, name in (
            ("true_maps", "true maps"),
            ("scrambled_maps", "scrambled maps"),
            ("mean_map", "nothing: mean map of the same atom counts"),
        )
    ]
    text = (
        "Written by `python -m mapcsp.training.maps_run scramble`: two networks like this one, trained for {epochs} epochs"
        " on {crystals_trained} crystals, one of them with the maps dealt out anew among crystals of equal atom counts. Both"
        " are given label and cell of the crystals of {split}."
    ).format(**found | {"split": ", ".join(found["split"])})
    return ["## Scrambled maps", text, _table(header, rows)]


def _flat(value: Mapping[str, Any], prefix: str) -> list[str]:
    lines: list[str] = []
    for key, inner in value.items():
        lines += (
            _flat(inner, f"{prefix}.{key}") if isinstance(inner, Mapping) else [f"{prefix}.{key} = {inner}"]
        )
    return lines


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _scores_table(metrics: Mapping[str, Any]) -> str:
    keys = [(k, title) for k, title in _COLUMNS if k in metrics]
    rows = [
        [name, *(_number(metrics.get(prefix + k)) for k, _ in keys)]
        for prefix, name in _LINES
        if any(prefix + k in metrics for k, _ in keys)
    ]
    return _table(["", *(title for _, title in keys)], rows)


def _key_table(figures: Mapping[str, Any]) -> str:
    return _table(["key", "value"], [[f"`{k}`", _number(v)] for k, v in sorted(figures.items())])


def _curve_table(rows: list[dict[str, str]]) -> str:
    columns = list(rows[0])
    step = max(1, len(rows) // 12)
    shown = [r for i, r in enumerate(rows) if i % step == 0 or i == len(rows) - 1]
    return _table(columns, [[_short(r[c]) for c in columns] for r in shown])


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def experiments_table(experiments: Mapping[str, Mapping[str, Any]]) -> str:
    """The papers' experiments, one a row, with the papers' figures and the baselines beside ours.

    RMSE and overlap: distances decoded as the papers do, the middle of the likeliest group.
    """
    header = [
        "experiment", "trained", "epochs", "tested", "RMSE / Å", "paper", "nearest", "mean map", "overlap", "paper", "Dice",
        "paper", "nearest", "perfect", "paper",
    ]  # fmt: skip
    keys = [
        "crystals_trained", "epochs", "crystals", "distance_rmse_ang", "paper_distance_rmse_ang",
        "baseline_nearest_distance_rmse_ang", "baseline_mean_map_distance_rmse_ang", "distance_overlap",
        "paper_distance_overlap", "contact_accuracy", "paper_contact_accuracy", "baseline_nearest_contact_accuracy",
        "contact_perfect", "paper_contact_perfect",
    ]  # fmt: skip
    rows = {n: {**row, "epochs": row["training"]["loop"]["epochs"]} for n, row in sorted(experiments.items())}
    return _table(header, [[name, *(_number(row.get(k)) for k in keys)] for name, row in rows.items()])
