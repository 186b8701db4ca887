"""The training command of MLatticeABC's forests: `python -m mapcsp.training.mlatticeabc.run --help`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from mapcsp.cryspnet.conventional import standard_cell
from mapcsp.cryspnet.predict import predict_cryspnet
from mapcsp.mlatticeabc.forests import WEIGHTS_FILE, load_forests, write_forests
from mapcsp.mlatticeabc.predict import predict_cells
from mapcsp.provenance import code_id, file_sha256
from mapcsp.registry import registered_model
from mapcsp.settings import SymmetrySettings
from mapcsp.store import read_json, write_json, write_text
from mapcsp.symmetry.cells import bravais_lattice
from mapcsp.symmetry.model import load_model
from mapcsp.symmetry.predict import predict_symmetry
from mapcsp.training.cryspnet.data import amounts_of
from mapcsp.training.cryspnet.run import MAX_ATOMS, training_rows
from mapcsp.training.encoded import EncodedKnown, encoded_tables
from mapcsp.training.mlatticeabc.train import (
    ForestTraining,
    cell_figures,
    predictors_of_rows,
    set_cell,
    train_forests,
)
from mapcsp.training.options import FILE, FOLDER, run_command
from mapcsp.training.symmetry.evaluate import entry_of

# R² that MLatticeABC's own description gives, on a random tenth of its Materials Project crystals.
PUBLISHED_R2 = {"cubic_a": 0.979, "monoclinic_a": 0.520}
SYSTEMS = ("cubic", "tetragonal", "hexagonal", "trigonal", "orthorhombic", "monoclinic", "triclinic")
METHODS = {
    "": "MLatticeABC",
    "cryspnet_z_": "CRYSPNet with z",
    "default_": "default",
    "mean_cell_": "mean cell",
}


def run_train_mlatticeabc(
    tables: Sequence[Path], validation: Path, work_dir: Path, output: Path, settings: ForestTraining
) -> None:
    """Grow the forests on `tables`, judge them on `validation`, write the model's folder `output`.

    work_dir: encoded tables are kept there. About three minutes of one core.
    """
    rows = training_rows(tables, work_dir)
    write_forests(output / WEIGHTS_FILE, train_forests(rows, settings, lambda line: print(line, flush=True)))
    write_json(
        output / "training.json",
        {
            "tables": {table.name: file_sha256(table) for table in tables},
            "crystals": len(rows),
            "settings": asdict(settings),
            "code": code_id("mlatticeabc", "training/mlatticeabc/train"),
        },
    )
    run_evaluate_mlatticeabc(rows, validation, work_dir, output)


def run_evaluate_mlatticeabc(
    training: Sequence[EncodedKnown], validation: Path, work_dir: Path, output: Path
) -> None:
    """Judge the forests in `output` beside CRYSPNet, the default model and mean cells; write metrics.json and card.md."""
    load_forests.cache_clear()
    rows = [row for row in encoded_tables([validation], work_dir) if row.n_atoms <= MAX_ATOMS]
    numbers = [r.anonymous.space_group for r in rows]
    cells = {
        "": predict_cells(load_forests(output), predictors_of_rows(rows), numbers),
        "cryspnet_z_": _cryspnet_cells(rows),
        "default_": _default_cells(rows),
        "mean_cell_": _mean_cells(rows, training),
    }
    figures: dict[str, Any] = {}
    for prefix, predicted in cells.items():
        # Settings of the standard cell differ; one of them compares all.
        same = np.array([set_cell(n, c) for n, c in zip(numbers, predicted)])
        figures |= {
            prefix + k: v for k, v in cell_figures(rows, same).items() if not (prefix and "crystals" in k)
        }
    write_json(
        output / "metrics.json",
        {
            **{k: round(v, 4) if isinstance(v, float) else v for k, v in sorted(figures.items())},
            "crystals": len(rows),
            "data": validation.name,
            "split": f"formulas in no training table, at most {MAX_ATOMS} atoms; z and space group given",
            "weights_sha256": file_sha256(output / WEIGHTS_FILE),
        },
    )
    write_mlatticeabc_card(output)


def _cryspnet_cells(rows: Sequence[EncodedKnown]) -> np.ndarray:
    predictions = predict_cryspnet([amounts_of(r) for r in rows], top_bravais=14, z=[r.z for r in rows])
    cells = []
    for row, prediction in zip(rows, predictions):
        number = row.anonymous.space_group
        lattice = next(b for b in prediction.bravais if b.bravais == bravais_lattice(number))
        cells.append(standard_cell(number, lattice.cell))
    return np.array(cells)


def _default_cells(rows: Sequence[EncodedKnown]) -> np.ndarray:
    """The default model's cell of its likeliest label in the true space group, z given."""
    model, settings = load_model(registered_model("symmetry", "symmetry.model").folder), SymmetrySettings()
    found = [
        predict_symmetry(replace(entry_of(r, (r.z,)), space_group=r.anonymous.space_group), settings, model)
        for r in rows
    ]
    return np.array([p.labels[0].cell for p in found])


def _mean_cells(rows: Sequence[EncodedKnown], training: Sequence[EncodedKnown]) -> np.ndarray:
    """The mean cell of the training crystals with the same Bravais lattice."""
    by_lattice: dict[str, list[np.ndarray]] = {}
    for row in training:
        number = row.anonymous.space_group
        by_lattice.setdefault(bravais_lattice(number), []).append(set_cell(number, row.cell))
    means = {name: np.mean(cells, axis=0) for name, cells in by_lattice.items()}
    return np.array([means[bravais_lattice(r.anonymous.space_group)] for r in rows])


def write_mlatticeabc_card(output: Path) -> None:
    """Write card.md from metrics.json and training.json; no figure of ours is typed by hand."""
    metrics, training = read_json(output / "metrics.json"), read_json(output / "training.json")
    lines = []
    for system in (s for s in SYSTEMS if f"{s}_crystals" in metrics):
        for parameter in ("a", "b", "c", "alpha", "beta", "gamma"):
            if f"{system}_{parameter}_r2" not in metrics:
                continue
            values = [f"{metrics[f'{prefix}{system}_{parameter}_r2']:.3f}" for prefix in METHODS]
            published = PUBLISHED_R2.get(f"{system}_{parameter}")
            lines.append(
                f"| {system}, {parameter} | {metrics[f'{system}_crystals']} | {' | '.join(values)} | "
                f"{'–' if published is None else f'{published:.3f}'} |"
            )
    errors = [
        f"| {name} | {' | '.join(f'{metrics[prefix + key]:.3f}' for prefix in METHODS)} |"
        for key, name in (("volume_mre", "volume"), ("length_mre", "lengths"))
    ]
    tables = "\n".join(f"- `{name}`, sha256 {digest}" for name, digest in sorted(training["tables"].items()))
    settings = ", ".join(f"{k} {v}" for k, v in sorted(training["settings"].items()))
    size_mb = (output / WEIGHTS_FILE).stat().st_size / 1e6
    names = " | ".join(METHODS.values())
    write_text(
        output / "card.md",
        f"""# MLatticeABC: cell parameters from composition, z and space group

The method of Li, Yang, Dong and Hu (MLatticeABC, 2021), which AlphaCrystal takes its cells from, rebuilt: random forests
over statistics of elemental properties and the content of the conventional cell, one for each free cell parameter of each
crystal system. A reference to compare the default model with. Weights: {size_mb:.1f} MB; prediction needs numpy alone.

Learned from {training["crystals"]} crystals, one a formula. Judged on `{metrics["data"]}`: {metrics["crystals"]} crystals,
{metrics["split"]}. `default`: cell of the likeliest label of the default model. `mean cell`: of the Bravais lattice.

## R²

| | crystals | {names} | published |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}

Published: on a random tenth of its own crystals, with the same formulas' polymorphs in training, so not the same task.

## Mean relative errors

| | {names} |
| --- | --- | --- | --- | --- |
{chr(10).join(errors)}

## Departures from the original

- {training["settings"]["trees"]} trees instead of 100, and at least {training["settings"]["least_leaf"]} crystals a leaf, so
  that the weights stay below 10 MB.
- Angles too, where the crystal system leaves them; the original gives lengths alone.
- Statistics without the mode, as CRYSPNet has them: 228 predictors instead of 249.
- Cells in one setting (as CRYSPNet here; rhombohedral lattices in hexagonal axes), and unseen formulas instead of a random
  split of crystals.

## Data and command

{tables}

`snakemake --snakefile workflow/Snakefile.training train_mlatticeabc`; settings: {settings}.
""",
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--train", "tables", required=True, multiple=True, type=FILE, help="Structure table.")
@click.option("--test", "validation", required=True, type=FILE, help="Structure table to judge on.")
@click.option("--work", required=True, type=FOLDER, help="Where encoded tables are kept.")
@click.option("--output", required=True, type=FOLDER, help="The model's folder.")
@click.option("--seed", default=ForestTraining.seed, show_default=True, type=int)
def main(tables: tuple[Path, ...], validation: Path, work: Path, output: Path, seed: int) -> None:
    """Grow MLatticeABC's forests and judge them."""
    run_train_mlatticeabc(tables, validation, work, output, ForestTraining(seed=seed))


if __name__ == "__main__":
    run_command(main)
