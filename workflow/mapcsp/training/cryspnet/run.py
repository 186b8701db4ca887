"""The training commands of CRYSPNet: `python -m mapcsp.training.cryspnet.run --help`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch

from mapcsp.cryspnet.networks import WEIGHTS_FILE, load_ensembles, write_ensembles
from mapcsp.provenance import code_id, file_sha256
from mapcsp.store import write_json
from mapcsp.training.cryspnet.card import write_cryspnet_card
from mapcsp.training.cryspnet.data import DATA_SETS, one_a_formula, samples_of
from mapcsp.training.cryspnet.evaluate import evaluate_cryspnet
from mapcsp.training.cryspnet.loop import CryspNetTraining
from mapcsp.training.cryspnet.train import train_cryspnet
from mapcsp.training.encoded import EncodedKnown, encoded_tables
from mapcsp.training.options import FILE, FOLDER, run_command
from mapcsp.training.split import is_held_out

MAX_ATOMS = 20


def training_rows(tables: Sequence[Path], work_dir: Path) -> list[EncodedKnown]:
    """One crystal a formula of the tables, without the formulas that every network leaves out."""
    rows = encoded_tables(tables, work_dir)
    return one_a_formula([row for row in rows if not is_held_out(row.formula)])


def run_train_cryspnet(
    tables: Sequence[Path], work_dir: Path, output: Path, settings: CryspNetTraining | None = None
) -> None:
    """Train on `tables` and write weights.safetensors and training.json into `output`.

    work_dir: encoded tables are kept there. About three minutes of one core.
    """
    torch.set_num_threads(1)
    settings = settings or CryspNetTraining()
    samples = samples_of(training_rows(tables, work_dir), "predictors")
    ensembles = train_cryspnet(samples, settings, lambda line: print(line, flush=True))
    hashes = {table.name: file_sha256(table) for table in tables}
    write_ensembles(output / WEIGHTS_FILE, ensembles)
    write_json(
        output / "training.json",
        {
            "tables": hashes,
            "crystals": {d: sum(d in s.data_sets for s in samples) for d in DATA_SETS},
            "settings": asdict(settings),
            "code": code_id(
                "cryspnet", "training/cryspnet/train", "training/cryspnet/loop", "training/cryspnet/data"
            ),
        },
    )


def run_evaluate_cryspnet(tables: Sequence[Path], validation: Path, work_dir: Path, output: Path) -> None:
    """Judge the model in `output` on `validation`; write its metrics.json and card.md."""
    load_ensembles.cache_clear()
    rows = [row for row in encoded_tables([validation], work_dir) if row.n_atoms <= MAX_ATOMS]
    figures = evaluate_cryspnet(load_ensembles(output), rows, training_rows(tables, work_dir))
    write_json(
        output / "metrics.json",
        {
            **figures,
            "data": validation.name,
            "split": f"formulas in no training table, at most {MAX_ATOMS} atoms",
            "weights_sha256": file_sha256(output / WEIGHTS_FILE),
        },
    )
    write_cryspnet_card(output)


_train = click.option("--train", "tables", required=True, multiple=True, type=FILE, help="Structure table.")
_work = click.option("--work", required=True, type=FOLDER, help="Where encoded tables are kept.")
_output = click.option("--output", required=True, type=FOLDER, help="The model's folder.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train CRYSPNet and judge it."""


@main.command()
@_train
@_work
@_output
@click.option("--seed", default=CryspNetTraining.seed, show_default=True, type=int)
def train(tables: tuple[Path, ...], work: Path, output: Path, seed: int) -> None:
    """Train all ensembles."""
    run_train_cryspnet(tables, work, output, CryspNetTraining(seed=seed))


@main.command()
@_train
@click.option("--test", "validation", required=True, type=FILE, help="Structure table to judge on.")
@_work
@_output
def evaluate(tables: tuple[Path, ...], validation: Path, work: Path, output: Path) -> None:
    """Write metrics.json and card.md."""
    run_evaluate_cryspnet(tables, validation, work, output)


if __name__ == "__main__":
    run_command(main)
