"""Writes the card of CRYSPNet: the paper's tables with our figures beside them, all from files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mapcsp.cryspnet.conventional import BRAVAIS_LATTICES, PAPER_NAMES, free_parameters
from mapcsp.cryspnet.networks import CLIP, WEIGHTS_FILE
from mapcsp.store import read_json, write_text
from mapcsp.training.cards import markdown_table
from mapcsp.training.cryspnet.data import DATA_SETS
from mapcsp.training.cryspnet.paper import TABLE2, TABLE3, TABLE4, VOLUME_R2

Figures = dict[str, Any]
PAPER_SETS = {"all": "Master", "metals": "Metal", "oxides": "Oxide"}


def write_cryspnet_card(output: Path) -> None:
    """Write card.md in a model's folder from its metrics.json and training.json; no figure of ours is typed by hand."""
    metrics, training = read_json(output / "metrics.json"), read_json(output / "training.json")
    size_mb = (output / WEIGHTS_FILE).stat().st_size / 1e6
    parts = (
        _head(metrics, training, size_mb),
        _table2(metrics),
        _table3(metrics),
        _table4(metrics),
        _chain(metrics),
        _tail(training),
    )
    write_text(output / "card.md", "\n".join(parts))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _head(metrics: Figures, training: Figures, size_mb: float) -> str:
    counts = ", ".join(f"{name} {training['crystals'][name]}" for name in DATA_SETS)
    return f"""# CRYSPNet: Bravais lattice, space group and cell from the composition

The method of Liang, Stanev, Kusne and Takeuchi (CRYSPNet, 2020), trained here; a reference to compare the default model
with, which ranks Wyckoff labels too. 228 statistics of elemental properties; an ensemble for the 14 Bravais lattices
("all", "metals", "oxides"), 14 ensembles for space groups, 14 networks for cells, and 14 more for cells with the five
predictors of the cell's content that MLatticeABC adds (these need z). Weights: {size_mb:.1f} MB, half precision.

Learned from one crystal a formula: {counts}. Judged on `{metrics["data"]}`: {metrics["crystals"]} crystals of
{metrics["formulas"]} formulas, {metrics["split"]}. The paper's figures are on other crystals, 10 %
of the ICSD kept back at random, so that the columns compare tasks of the same kind, not the same task.
"""


def _table2(metrics: Figures) -> str:
    rows = []
    for name in DATA_SETS:
        ours, (paper, paper_random, paper_top2) = f"table2_{name}_", TABLE2[name]
        rows.append(
            (
                f"{name} ({PAPER_SETS[name]})",
                str(metrics[ours + "crystals"]),
                _percent(metrics[ours + "top1"]),
                f"{_percent(metrics[ours + 'member_top1'])} ± {_percent(metrics[ours + 'member_top1_std'])}",
                _percent(paper),
                _percent(metrics[ours + "top2"]),
                _percent(paper_top2),
                _percent(metrics[ours + "random"]),
                _percent(paper_random),
                _percent(metrics[ours + "mode"]),
            )
        )
    names = (
        "data set|crystals|top-1|one network|paper top-1|top-2|paper top-2|random|paper random|most frequent"
    )
    return f"""## Table 2: Bravais lattice (%)

{markdown_table(names.split("|"), rows)}\n
`random`: choice by abundance; `most frequent`: the training crystals' commonest lattice. The paper's figures are means over
single networks; ± is the standard deviation over networks. With one crystal a formula, as in the paper, top-1 is
{_percent(metrics["one_a_formula_bravais_top1"])} % for "all": no composition alone can name two polymorphs.
"""


def _table3(metrics: Figures) -> str:
    rows = []
    for bravais in (b for b in BRAVAIS_LATTICES if f"table3_{b}_top1" in metrics):
        ours, (paper, paper_random, paper_top3) = f"table3_{bravais}_", TABLE3[bravais]
        rows.append(
            (
                f"{PAPER_NAMES[bravais]}, {bravais}",
                str(metrics[ours + "crystals"]),
                _percent(metrics[ours + "top1"]),
                _percent(paper),
                _percent(metrics[ours + "top3"]),
                _percent(paper_top3),
                _percent(metrics[ours + "random"]),
                _percent(paper_random),
                _percent(metrics[ours + "mode"]),
            )
        )
    mean = [f"**{_percent(metrics[f'table3_mean_{key}'])}**" for key in ("top1", "top3", "random", "mode")]
    rows.append(
        ("**all, by crystals**", str(metrics["crystals"]), mean[0], "", mean[1], "", mean[2], "", mean[3])
    )
    names = "lattice|crystals|top-1|paper top-1|top-3|paper top-3|random|paper random|most frequent"
    return f"""## Table 3: space group, true Bravais lattice given (%)

{markdown_table(names.split("|"), rows)}\n"""


def _table4(metrics: Figures) -> str:
    rows = []
    for bravais in (b for b in BRAVAIS_LATTICES if f"table4_{b}_log_mse" in metrics):
        paper_loss, paper_r2 = TABLE4[bravais]
        names = free_parameters(bravais)
        rows.append(
            (
                f"{PAPER_NAMES[bravais]}, {bravais}",
                str(metrics[f"table4_{bravais}_crystals"]),
                f"{metrics[f'table4_{bravais}_log_mse']:.2f}",
                f"{paper_loss:.2f}",
                f"{metrics[f'table4_{bravais}_log_mse_mean_cell']:.2f}",
                f"{metrics[f'table4_z_{bravais}_log_mse']:.2f}",
                _r2_cells(metrics, f"table4_{bravais}", names),
                ", ".join(f"{n} {v:.2f}" for n, v in zip(names, paper_r2)),
                _r2_cells(metrics, f"table4_z_{bravais}", names),
            )
        )
    header = "lattice|crystals|Log-MSE|paper|mean cell|Log-MSE with z|R²|paper R²|R² with z"
    return f"""## Table 4: cell, true Bravais lattice given

{markdown_table(header.split("|"), rows)}\n
Log-MSE is of logs standardised over the training crystals (1 is what the mean cell of all would get there), as the paper's
values must be; `mean cell`: the mean logs of the training crystals. `with z`: with MLatticeABC's predictors. Mean Log-MSE by
crystals: {metrics["table4_mean_log_mse"]:.2f}, with z {metrics["table4_z_mean_log_mse"]:.2f}. Below 5 crystals no R².
"""


def _r2_cells(metrics: Figures, prefix: str, names: Iterable[str]) -> str:
    found = [f"{n} {metrics[f'{prefix}_r2_{n}']:.2f}" for n in names if f"{prefix}_r2_{n}" in metrics]
    return ", ".join(found) or "–"


def _chain(metrics: Figures) -> str:
    rows = [
        (
            f"{name}, first {k}",
            _percent(metrics[f"{key}_top{k}"]),
            _percent(metrics[f"baseline_{key}_top{k}"]),
        )
        for key, name, ks in (("bravais", "Bravais lattice", (1, 2)), ("sg", "space group", (1, 5, 10)))
        for k in ks
    ]
    rows.append(
        (
            "first space group of the first lattice",
            _percent(metrics["sg_first_of_first_lattice"]),
            _percent(metrics["baseline_sg_top1"]),
        )
    )
    errors = [
        (text, f"{metrics[key]:.3f}", f"{metrics[key + '_with_z']:.3f}")
        for key, text in (
            ("volume_mre", "volume of the conventional cell, mean relative error"),
            ("length_mre", "lengths, mean relative error"),
            ("cubic_a_r2", "R² of a, cubic"),
        )
    ]
    return f"""## The whole chain, nothing given (%)

P(lattice) × P(space group | lattice), which the paper does not give, beside the most frequent answers:

{markdown_table(("", "CRYSPNet", "most frequent"), rows)}\n
Cells with the true Bravais lattice given:

{markdown_table(("", "CRYSPNet", "with z (MLatticeABC's predictors)"), errors)}\n
R² of the volume where the first lattice is right: {metrics["volume_r2_lattice_right"]:.2f} (paper {VOLUME_R2[0]:.2f});
where it is wrong: {metrics["volume_r2_lattice_wrong"]:.2f} (paper {VOLUME_R2[1]:.2f}).
"""


def _tail(training: Figures) -> str:
    tables = "\n".join(f"- `{name}`, sha256 {digest}" for name, digest in sorted(training["tables"].items()))
    settings = ", ".join(f"{k} {v}" for k, v in sorted(training["settings"].items()))
    return f"""## Departures from the paper

- Data: density-functional crystals of at most 24 atoms in the primitive cell instead of the ICSD; abundance counts the
  crystals of a formula and space group in the tables. One formula in twenty is kept from training, as from every network.
- Widths: below its code's 256 for all but the main ensemble, and 3 networks a space-group ensemble, so that weights stay
  below 10 MB. Epochs as its code, more where few crystals would leave a network untrained.
- Cells in one setting a Bravais lattice (reduced monoclinic mesh, Niggli cells), where the paper has entries as they came.
- MLatticeABC's forests are a model of their own (`mlatticeabc`); here its predictors go into networks like the others.
- No dropout on the outputs. Cell networks see predictors clipped to {CLIP:g} standard deviations, learn from smaller batches
  where crystals are few, and two of them vote: without, single outliers got the smallest or largest cell of all.

## Data and command

{tables}

`snakemake --snakefile workflow/Snakefile.training train_cryspnet`;
settings: {settings}.
In the pipeline: `symmetry: {{model: cryspnet}}`; labels are then enumerated within its space groups, with its cells.
"""
