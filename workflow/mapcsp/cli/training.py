"""Commands that train the models and judge them on known crystals."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mapcsp.cli.options import FILE, FOLDER, OLD_FILE, WholeNumber, input_option, output_option
from mapcsp.cli.printing import print_columns
from mapcsp.cli.root import TRAINING, cli


@cli.add(TRAINING)
@click.argument("tables", nargs=-1, required=True, type=OLD_FILE)
@input_option("validation", OLD_FILE, "Structure table to judge the model on.")
@input_option("work", FOLDER, "Folder for encoded tables and the checkpoint.")
@output_option(FOLDER)
def train_symmetry(tables: tuple[Path, ...], validation: Path, work: Path, output: Path) -> None:
    """Train the symmetry model on structure tables; a killed run goes on from its checkpoint."""
    from mapcsp.training.symmetry.run import run_train_symmetry

    run_train_symmetry(tables, validation, work, output)


@cli.add(TRAINING)
@click.argument("tables", nargs=-1, required=True, type=OLD_FILE)
@click.option(
    "--unseen",
    type=OLD_FILE,
    multiple=True,
    required=True,
    help="Structure table with formulas of kinds that no network was trained on: elements, molecules; may be given again.",
)
@input_option("work", FOLDER, "Folder for encoded tables and relaxed pools.")
@click.option("--count", default=320, show_default=True, help="Formulas to fit on.")
@click.option("--unseen-count", default=30, show_default=True, help="Formulas of each kind of `--unseen`.")
@click.option("--processes", default=1, show_default=True, help="Processes that predict side by side.")
@output_option(FOLDER)
def train_ranker(
    tables: tuple[Path, ...],
    unseen: tuple[Path, ...],
    work: Path,
    count: int,
    unseen_count: int,
    processes: int,
    output: Path,
) -> None:
    """Fit the ranking on formulas that no network was trained on (half an hour; a killed run goes on)."""
    from mapcsp.settings import Settings
    from mapcsp.training.ranker.train import run_train_ranker

    run_train_ranker(tables, unseen, work, output, count, unseen_count, Settings(), processes)


@cli.add(TRAINING)
@click.argument("table", type=FILE)
@input_option("work", FOLDER, "Folder for encoded tables and finished rows; a stopped run goes on.")
@click.option(
    "--count", default=200, show_default=True, help="Crystals of the default and of prototypes alone."
)
@click.option("--slow-count", default=60, show_default=True, help="Crystals of the slower sources.")
@click.option("--seed", default=1, show_default=True, help="Which crystals are drawn.")
@click.option(
    "--held-out", is_flag=True, help="Of a training table, take the formulas that no network was trained on."
)
@output_option(FILE)
def evaluate_reconstruction(
    table: Path, work: Path, count: int, slow_count: int, seed: int, held_out: bool, output: Path
) -> None:
    """Say how good the searches are before any relaxation: from true maps and from formulas, term by term."""
    from mapcsp.training.reconstruction.evaluate import run_evaluate_reconstruction

    run_evaluate_reconstruction(table, work, output, count, slow_count, seed, held_out)


@cli.add(TRAINING)
@click.argument("tables", nargs=-1, required=True, type=FILE)
@input_option("work", FOLDER, "Folder for finished parts; a stopped run goes on.")
@click.option("--potential", default="m3gnet", show_default=True, help="As in `relax.potential`.")
@click.option("--max-atoms", default=12, show_default=True, help="Most atoms in a primitive cell.")
@click.option("--count", type=click.IntRange(1), help="Formulas drawn from each table; all if not given.")
@click.option("--seed", default=1, show_default=True, help="Which formulas are drawn.")
@click.option("--relax/--no-relax", default=True, help="Also judge the order of relaxed geometries.")
@output_option(FILE)
def evaluate_potential(
    tables: tuple[Path, ...],
    work: Path,
    potential: str,
    max_atoms: int,
    count: int | None,
    seed: int,
    relax: bool,
    output: Path,
) -> None:
    """Say how well a potential orders the polymorphs of structure tables by energy, and what its error leaves to know."""
    from mapcsp.training.evaluate_potential import run_evaluate_potential

    run_evaluate_potential(tables, potential, work, output, max_atoms, count, relax, seed)


@cli.add(TRAINING)
@click.argument("formulas", nargs=-1)
@input_option("work", FOLDER, "Folder of the run; a stopped run goes on.")
@click.option("--cores", metavar="N", type=WholeNumber(1), help="Jobs at a time.  [default: all cores]")
@output_option(FILE)
def evaluate_known_compounds(formulas: tuple[str, ...], work: Path, cores: int | None, output: Path) -> None:
    """Predict well-known compounds from their formulas alone, and say which are found and where others are lost.

    FORMULAS of resources/tables/known_compounds.csv, as written there; all if none is given.
    """
    from mapcsp.api.run import JobError
    from mapcsp.benchmark.known_compounds import run_evaluate_known_compounds, summarise, table_rows

    try:
        judged = run_evaluate_known_compounds(work, output, cores, formulas)
    except JobError as error:
        click.echo(f"{error.tail}\nmapcsp: {error}", err=True)
        sys.exit(1)
    print_columns(*table_rows(judged))
    figures = summarise(judged)
    click.echo(f"\n{figures['n']} compounds: {figures['first']} first, {figures['in_five']} in five")
