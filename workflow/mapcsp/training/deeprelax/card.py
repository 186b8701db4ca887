"""Writes the card of the one-pass relaxation from its metrics.json, ablations.json and curve.csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mapcsp.deeprelax.model import WEIGHTS, load_model
from mapcsp.store import read_csv, read_json, write_text
from mapcsp.training.cards import curve_table, key_table, markdown_table, settings_lines
from mapcsp.training.curves import draw_curve
from mapcsp.training.deeprelax.train import SHIPPED

ABOUT = (
    "An ensemble of PaEGNN networks (DeepRelax: Yang et al., arXiv:2404.00865) with its distance-geometry "
    "solver: an unrelaxed crystal in, the relaxed one and its uncertainty out, without steps. What differs "
    "from the paper, and why, stands in `workflow/mapcsp/deeprelax/network.py` and `solver.py`: above all, "
    "the lattice turns with the crystal, the solver keeps symmetry, and every input is first scaled to the "
    "sum of its elements' mean volumes in the training crystals, so that the answer does not depend on the "
    "volume given."
)
DATA = (
    "Pairs hold no energies and no private data: the relaxed crystal is a known one, the unrelaxed one "
    "another crystal of its prototype (same label, another formula, drawn at random; the loose matcher's "
    "tolerances), its elements replaced and its cell scaled by the volume of the atoms' covalent spheres "
    "after and before. Up to five such pairs a crystal, another one each epoch. Training crystals: Materials "
    "Project slices (MP-20, MPTS-52) and WBM, at most 24 atoms; no reduced formula of the test pairs occurs "
    "in them. Sources and licence: Materials Project (Jain et al. 2013), CC BY 4.0; MP-20 split: Xie et al., "
    "arXiv 2110.06197; MPTS-52: Baird and Sparks, doi 10.6084/m9.figshare.19991516; WBM: Wang, Botti, "
    "Marques, npj Comput. Mater. 7, 12 (2021), CC BY 4.0."
)
MEANING = (
    "Mean absolute errors as in the paper's section 4.10: Cartesian coordinates (per component, centroids on "
    "each other), bond lengths (edges of the graph, as the network says them), the nine lattice entries, the "
    "volume; match rate of StructureMatcher's defaults (ltol .2, stol .3), which rescales volumes. Dummy: the"
    " unrelaxed crystal. The covalent spheres are a crude guess of a volume, which makes the Dummy weak; the "
    "second Dummy is at the elements' fitted volumes, where the networks start. Gains are 1 - error / error "
    "of the Dummy."
)
SPEED = (
    "M3GNet relaxes the same crystals to 0.05 eV/Å and 0.5 GPa (300 steps at most) in batches; CPU seconds of"
    " one thread, both in one run, the one pass as the mean of ten. M3GNet relaxes to its own energy, not to"
    " the crystal in the table, and starts at the pairs' crude volumes."
)
PAPER_MEMBERS = 5
FIVE = (
    "To train five, in the repository's root: `.venv/bin/python -m mapcsp.training.deeprelax.run train --members 5 "
    "--train ../shared/data/mp_train.parquet --train ../shared/data/wbm_train.parquet --work "
    "results/training/deeprelax --output resources/models/deeprelax`; members whose checkpoints lie in the work "
    "folder are not trained again. Then `evaluate` and `card` of the same program judge them and write this page."
)
PAINN = (
    "PaiNN: SchNetPack's network under the same lattice head, its vectors mapped to displacements; width, layers, "
    "pairs, batches, optimiser, epochs and seed are those of this model's members. One network."
)
_METHODS = (
    ("", "this model"),
    ("_dummy", "Dummy"),
    ("_scaled_dummy", "Dummy at fitted volumes"),
    ("_painn", "PaiNN of SchNetPack"),
)
_COLUMNS = (
    ("coordinate_mae_ang", "coordinates / Å"),
    ("bond_mae_ang", "bonds / Å"),
    ("lattice_mae_ang", "lattice / Å"),
    ("volume_mae_ang3", "volume / Å³"),
    ("volume_mre", "volume, relative"),
    ("match_rate", "match rate"),
)
_ABLATIONS = (
    ("vanilla", "Vanilla"),
    ("p", "P: cell offsets encoded"),
    ("u", "U: uncertainty"),
    ("deeprelax", "both"),
    ("direct", "displacements directly (PaiNN-like)"),
)


def write_card(folder: Path) -> None:
    """Write card.md and curve.svg to the model's folder."""
    metrics = read_json(folder / "metrics.json")
    draw_curve(folder / "curve.csv", folder / "curve.svg")
    config = load_model(folder / WEIGHTS, folder.name).members[0].config
    judged = f"{metrics['crystals']} pairs of {', '.join(metrics['split'])}"
    parts = [
        "# One-pass relaxation with uncertainty (DeepRelax)",
        "Written by `snakemake --snakefile workflow/Snakefile.training train_deeprelax` from metrics.json and"
        " curve.csv; edits are lost.",
        ABOUT,
        f"Members: {metrics['members']}; parameters: {metrics['parameters']}. Judged on {judged}, trained on"
        f" {', '.join(metrics['trained_on'])}; commit {metrics['commit']}.",
        _members(metrics["members"]),
        "## Figures",
        _methods(metrics, _METHODS),
        MEANING,
        *([PAINN] if "coordinate_mae_ang_painn" in metrics else []),
        _gains(metrics),
        "## Against M3GNet",
        _against(metrics),
        SPEED,
    ]
    if (folder / "ablations.json").exists():
        found = read_json(folder / "ablations.json")
        parts += ["## Ablations", *_ablations(found)]
    settings = [*settings_lines(vars(config), "network"), *settings_lines(vars(SHIPPED.loss), "loss")]
    settings += [*settings_lines(vars(SHIPPED.graph), "graph"), *settings_lines(vars(SHIPPED.loop), "loop")]
    parts += ["## Settings", "\n".join(["```", *settings, "```"])]
    parts += ["## Loss curve", "![Losses and errors on held-out pairs by epoch](curve.svg)"]
    figures = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    parts += [curve_table(read_csv(folder / "curve.csv")), "## Data", DATA]
    parts += ["## All figures", key_table(figures)]
    write_text(folder / "card.md", "\n\n".join(parts) + "\n")


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _members(members: int) -> str:
    if members >= PAPER_MEMBERS:
        return f"{members} members, at least the {PAPER_MEMBERS} of the paper."
    return f"{members} members against the paper's {PAPER_MEMBERS}, which training on a CPU has not reached. {FIVE}"


def _methods(metrics: Mapping[str, Any], methods: tuple[tuple[str, str], ...]) -> str:
    rows = [
        [name, *(_number(metrics.get(k + end)) for k, _ in _COLUMNS)]
        for end, name in methods
        if f"coordinate_mae_ang{end}" in metrics
    ]
    return markdown_table(["", *(title for _, title in _COLUMNS)], rows)


def _gains(metrics: Mapping[str, Any]) -> str:
    names = ("coordinate_gain", "lattice_gain", "volume_gain")
    rows = [
        [f"against {title}", *(_number(metrics[k + end]) for k in names)]
        for end, title in (("", "Dummy"), ("_on_scaled_dummy", "Dummy at fitted volumes"))
    ]
    rho = f"Spearman correlation of the uncertainty with the distance error: {metrics['uncertainty_spearman']:.2f}"
    parts = [p for p in ("aleatoric", "epistemic") if f"uncertainty_spearman_{p}" in metrics]
    each = ", ".join(f"{part} alone {metrics[f'uncertainty_spearman_{part}']:.2f}" for part in parts)
    return markdown_table(["gain", "coordinates", "lattice", "volume"], rows) + f"\n\n{rho} ({each})."


def _against(metrics: Mapping[str, Any]) -> str:
    columns = [(k, title) for k, title in _COLUMNS if k != "bond_mae_ang"]
    rows = [
        [name, *(_number(metrics[prefix + k]) for k, _ in columns), _number(metrics[seconds])]
        for prefix, name, seconds in (
            ("same_crystals_", "this model", "one_pass_cpu_s"),
            ("m3gnet_", "M3GNet", "m3gnet_cpu_s"),
        )
    ]
    table = markdown_table(["", *(title for _, title in columns), "CPU s a crystal"], rows)
    return table + f"\n\nOne pass is {metrics['speedup_vs_m3gnet']:.0f} times faster."


def _ablations(found: Mapping[str, Any]) -> list[str]:
    keys = (*_COLUMNS, ("uncertainty_spearman", "Spearman"))
    rows = [
        [title, *(_number(found[name].get(k)) for k, _ in keys)]
        for name, title in _ABLATIONS
        if name in found
    ]
    note = (
        f"One network each, {found['epochs']} epochs of {found['crystals']} crystals, judged on the first"
        f" {found['deeprelax']['crystals']} pairs; without uncertainty the solver has no bounds. Direct: each atom's"
        " displacement vector is the answer."
    )
    return [markdown_table(["", *(title for _, title in keys)], rows), note]
