"""The training command of the symmetry model: from structure tables to weights, metrics.json and card.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from mapcsp.provenance import code_id, file_sha256
from mapcsp.store import read_json, write_json, write_text
from mapcsp.symmetry.memory import read_memory, write_memory
from mapcsp.symmetry.model import MEMORY_FILE, WEIGHTS_FILE, load_model, save_model
from mapcsp.training.curves import draw_curve
from mapcsp.training.encoded import MAX_ATOMS, encoded_tables
from mapcsp.training.geometries import build_memory
from mapcsp.training.symmetry.evaluate import baseline_volume_mre, evaluate_symmetry
from mapcsp.training.symmetry.train_cells import CellTraining, train_cells
from mapcsp.training.symmetry.train_labels import SymmetryTraining, train_symmetry


def run_train_symmetry(
    tables: Sequence[Path],
    validation: Path,
    work_dir: Path,
    output: Path,
    settings: SymmetryTraining | None = None,
) -> None:
    """Train on `tables`, evaluate on `validation`, write the model's folder `output`.

    work_dir holds encoded tables and the checkpoint: a run that was stopped goes on from there.
    """
    torch.set_num_threads(1)
    settings = settings or SymmetryTraining()
    rows = encoded_tables(tables, work_dir)
    memory_path = work_dir / MEMORY_FILE
    if not memory_path.exists():
        write_memory(memory_path, build_memory(rows))
    memory = read_memory(memory_path)
    network = train_symmetry(
        memory, rows, settings, work_dir / "checkpoint.safetensors", work_dir / "curve.csv"
    )
    cells = train_cells(memory, network, rows, CellTraining(), work_dir / "curve_cells.csv")
    save_model(output, memory, network, cells)
    for name in ("curve.csv", "curve_cells.csv"):
        write_text(output / name, (work_dir / name).read_text(encoding="utf-8"))
    write_json(
        output / "training.json",
        {
            "tables": {t.name: file_sha256(t) for t in tables},
            "crystals": len(rows),
            "labels": len(memory.labels),
            "geometries": len(memory.mode_label),
            "settings": asdict(settings),
            "cell_settings": asdict(CellTraining()),
            "code": code_id("symmetry", "training"),
        },
    )
    run_evaluate_symmetry(tables, validation, work_dir, output)


def run_evaluate_symmetry(tables: Sequence[Path], validation: Path, work_dir: Path, output: Path) -> None:
    """Evaluate the model in `output` and write its metrics.json and card.md."""
    torch.set_num_threads(1)
    load_model.cache_clear()
    model = load_model(output)
    training = encoded_tables(tables, work_dir)
    rows = encoded_tables([validation], work_dir)
    figures = evaluate_symmetry(model, rows, training)
    small = [r for r in rows if r.n_atoms <= 20]
    figures["baseline_volume_mre"] = baseline_volume_mre(small, model.memory.element_volume_ang3)
    write_json(
        output / "metrics.json",
        {
            **figures,
            "data": validation.name,
            "split": "formulas in no training table, at most 20 atoms; true z given except for z_*",
            "weights_sha256": file_sha256(output / WEIGHTS_FILE),
            "memory_sha256": file_sha256(output / MEMORY_FILE),
        },
    )
    write_symmetry_card(output)


_CARD_ROWS = (
    ("bravais_top1", "Bravais lattice, first", "baseline_bravais_top1", 0.70),
    ("bravais_top2", "Bravais lattice, first two", "baseline_bravais_top2", 0.84),
    ("sg_top1", "space group, first", "baseline_sg_top1", 0.65),
    ("sg_top5", "space group, first 5", "baseline_sg_top5", 0.86),
    ("sg_top10", "space group, first 10", "baseline_sg_top10", 0.91),
    ("label_top1", "label, first", "baseline_label_top1", 0.55),
    ("label_top5", "label, first 5", "baseline_label_top5", 0.79),
    ("label_top20", "label, first 20", "baseline_label_top20", 0.88),
    ("z_top1", "z, first (not given)", "baseline_z_top1", 0.75),
    ("z_top3", "z, first 3 (not given)", "baseline_z_top3", 0.93),
    ("volume_mre", "volume, mean relative error (label given)", "baseline_volume_mre", 0.04),
    ("length_mre", "lengths, mean relative error (label given)", None, 0.04),
    ("cubic_a_r2", "R² of a, cubic (label given)", None, 0.95),
)


def write_symmetry_card(output: Path) -> None:
    """Write card.md from metrics.json and training.json; no figure of it is typed by hand."""
    metrics, training = read_json(output / "metrics.json"), read_json(output / "training.json")
    for name in ("curve", "curve_cells"):
        draw_curve(output / f"{name}.csv", output / f"{name}.svg")
    rows = [
        f"| {name} | {metrics[key]:.4f} | {f'{metrics[base]:.4f}' if base else '–'} | {target:.2f} |"
        for key, name, base, target in _CARD_ROWS
    ]
    tables = "\n".join(f"- `{name}`, sha256 {digest}" for name, digest in sorted(training["tables"].items()))
    single = int((read_memory(output / MEMORY_FILE).mode_count == 1).sum())
    settings = ", ".join(f"{k} {v}" for k, v in sorted(training["settings"].items()))
    write_text(
        output / "card.md",
        f"""# Symmetry model: P(label, z | formula), cells and known geometries

Ranks (space group, Wyckoff letters of each element) in canonical form for a composition, with z, the cell and the
geometries that crystals of that label have. {training["labels"]} labels and {training["geometries"]} geometries from
{training["crystals"]} crystals of at most {MAX_ATOMS} atoms. Labels that no training crystal has are enumerated.

## Figures on `{metrics["data"]}`

{metrics["crystals"]} crystals: {metrics["split"]}. Baseline: the most frequent answers of the training crystals (labels
and z of the same stoichiometry; which element takes which role is not counted against it), or the sum of elemental volumes.

| | model | baseline | aim |
|---|---|---|---|
{chr(10).join(rows)}

Labels in the list of {metrics["crystals_with_label_listed"]} crystals; the rest have a label that training lacks and
enumeration did not find. Cells are judged on listed labels.

## Data and command

{tables}

`snakemake --snakefile workflow/Snakefile.training train_symmetry`;
settings: {settings}.
The epochs were chosen on formulas of the Materials Project kept from training. The figures above were looked at while the
design was made (decay of single labels' vectors, running mean of the weights, loss and shared vectors of the cell network),
so they are a little optimistic. Six networks voting together gained .005 in the mean ln P of held-out formulas' labels over
one like this (tried once, by a script that does not ship), so one ships.

![Labels: loss, and figures of held-out formulas, by epoch](curve.svg)
![Cells: loss, and figures of held-out formulas, by epoch](curve_cells.svg)

## Limits

Trained on density-functional crystals at zero temperature with at most {MAX_ATOMS} atoms; disordered, molecular and
larger crystals are outside. `memory.safetensors` holds for each known label the elements that took its roles and its
geometries at unit volume: {single} of the {training["geometries"]} geometries come from a single
crystal, whose coordinates they keep. Weights are stored in half precision.
""",
    )
