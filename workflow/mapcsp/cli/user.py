"""The verbs of a user: predict structures, or ask for one part of a prediction. `mapcsp.api` does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mapcsp.cli.options import (
    FOLDER,
    OLD_FILE,
    WholeNumber,
    elements_option,
    formula_arguments,
    overrides_option,
)
from mapcsp.cli.printing import near, print_columns, print_table, say, write_csv_file, writing
from mapcsp.cli.root import PREDICTION, cli

if TYPE_CHECKING:
    import pandas as pd

    from mapcsp.records import FormulaEntry
    from mapcsp.settings import Settings

POTENTIALS = "m3gnet, chgnet, sevennet-0, sevennet-l3i5 or ase:<module>:<callable>"


@cli.add(PREDICTION)
@formula_arguments
@click.option(
    "--top",
    metavar="N",
    type=WholeNumber(1, 100),
    help="Structures reported a formula.  [default: that of the settings]",
)
@click.option("--out", type=FOLDER, default=Path("mapcsp-run"), show_default=True, help="Folder of the run.")
@click.option("--cores", metavar="N", type=WholeNumber(1), help="Jobs at a time.  [default: all cores]")
@click.option(
    "--seed", metavar="N", type=WholeNumber(0), help="Of everything random.  [default: that of the settings]"
)
@click.option("--replace", is_flag=True, help="Leave out what earlier calls put into the folder.")
@overrides_option
def predict(
    formulas: tuple[str, ...],
    list_file: Path | None,
    z: int | None,
    space_group: int | None,
    content: bool | None,
    top: int | None,
    out: Path,
    cores: int | None,
    seed: int | None,
    replace: bool,
    config: dict[str, Any],
) -> None:
    """Predict, relax and rank structures; write a report.

    Runs the workflow on the formulas and prints the best structures. Run again with the same folder, nothing is done
    twice, and formulas added are all that is computed; those of earlier calls stay in its table and report.

    \b
    Examples:
      mapcsp predict NaCl SrTiO3 --top 5 --out my-run
      mapcsp predict TiO2 --z 2 --space-group P4_2/mnm
      mapcsp predict --list my.csv --cores 8 --set intake.max_atoms=20

    The folder gets formulas.csv and config.yaml, with which snakemake repeats the run, and results/.
    """
    from mapcsp.api.run import JobError
    from mapcsp.api.run import predict as run

    given: Path | tuple[str, ...] = formulas if list_file is None else list_file
    settings = config if seed is None else {**config, "seed": seed}
    try:
        results = run(
            given,
            out,
            top=top,
            z=z,
            space_group=space_group,
            content=content,
            cores=cores,
            settings=settings,
            replace=replace,
            say=say,
        )
    except JobError as error:
        # The job's own traceback, if it has one, is what a report of the bug needs; this process's is not.
        click.echo(f"{error.tail}\nmapcsp: {error}", err=True)
        sys.exit(1)
    table, failed, rejected = results.table, results.failed, results.rejected
    shown = [name for name in RANKING_COLUMNS if name in table]
    if len(table):
        print_table(table[shown])
    for row in failed.itertuples():
        click.echo(f"{row.id}: no structure ({row.reason})")
    _print_not_tried(table[table["rank"] == 1])
    _print_not_tried(failed)
    for row in rejected.itertuples():
        click.echo(f"rejected: line {row.line}: {row.reason}")
    click.echo(f"\nStructures  {near(results.folder / 'results/ranking/cif')}")
    click.echo(f"Table       {near(results.folder / 'results/ranking/ranking.csv')}")
    click.echo(f"Report      {near(results.report)}")


def _print_not_tried(table: pd.DataFrame) -> None:
    """One line a formula of which something was not tried, from columns of `ranking.csv` or `failed.csv`."""
    for row in table[table["not_tried"].notna()].itertuples():
        click.echo(f"{row.id}: {row.not_tried} (probability {row.not_tried_probability:.2f})")


RANKING_COLUMNS = (
    "id",
    "rank",
    "probability",
    "z",
    "space_group_symbol",
    "formation_energy_ev_per_atom",
    "energy_above_best_ev_per_atom",
    "volume_ang3_per_atom",
)


@cli.add(PREDICTION)
@formula_arguments
@click.option(
    "--top", metavar="N", type=WholeNumber(1), default=5, show_default=True, help="Labels shown a formula."
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write all labels there, as CSV."
)
@overrides_option
def symmetry(
    formulas: tuple[str, ...],
    list_file: Path | None,
    z: int | None,
    space_group: int | None,
    content: bool | None,
    top: int,
    out: Path | None,
    config: dict[str, Any],
) -> None:
    """Predict z, space groups, Wyckoff labels and cells of formulas.

    A label is a space group and the Wyckoff position of each orbit: 225:Cl-b,Na-a is rock salt. z is the number of
    formula units in the primitive cell; cells are conventional. Probabilities count what was not tried, such as
    cells beyond intake.max_atoms, which is named below the table.

    \b
    Examples:
      mapcsp symmetry NaCl SrTiO3
      mapcsp symmetry TiO2 --z 2 --top 10
      mapcsp symmetry --list my.csv --out labels.csv
    """
    from mapcsp.api.predictions import predict_entries

    entries, settings = _entries(formulas, list_file, z, space_group, content, config)
    results = predict_entries(entries, settings)
    table = results.table
    print_table(table[table["rank"] <= top].drop(columns=["formula", "space_group"]))
    _print_not_tried(results.not_tried)
    write_csv_file(table, out)


@cli.add(PREDICTION)
@formula_arguments
@click.option("--out", type=FOLDER, help="Write all maps there: <id>.safetensors and maps.csv.")
@overrides_option
def maps(
    formulas: tuple[str, ...],
    list_file: Path | None,
    z: int | None,
    space_group: int | None,
    content: bool | None,
    out: Path | None,
    config: dict[str, Any],
) -> None:
    """Predict distances and contacts between the atoms of a cell.

    Prints, for each formula, the map of its most probable label: distances in Å, those of predicted bonds with an
    asterisk.

    \b
    Examples:
      mapcsp maps SrTiO3
      mapcsp maps TiO2 --space-group 136 --out maps
      mapcsp maps NaCl --set maps.model=alphacrystal2
    """
    from mapcsp.api.predictions import BOND_PROBABILITY, map_entries, write_map_files

    entries, settings = _entries(formulas, list_file, z, space_group, content, config)
    results = map_entries(entries, settings)
    for index, (prediction, found) in enumerate(zip(results.predictions, results.maps)):
        if not found.maps:
            click.echo(f"{prediction.id}: no label fits, so there is no map\n")
            continue
        label = prediction.labels[0]
        click.echo(f"{prediction.id}: z {label.z}, {label.label.key}, {len(found.maps)} maps in all")
        distances, bonds = results.distances(index), results.contacts(index) > BOND_PROBABILITY
        cells = [
            [f"{d:.2f}{'*' if bond else ' '}" for d, bond in zip(row, flags)]
            for row, flags in zip(distances.to_numpy(), bonds.to_numpy())
        ]
        print_columns(["", *distances.columns], [[s, *row] for s, row in zip(distances.index, cells)])
        click.echo()
    if out is not None:
        with writing(out):
            write_map_files(results, out)
        write_csv_file(results.table, out / "maps.csv")


@cli.add(PREDICTION)
@click.argument("files", nargs=-1, required=True, type=OLD_FILE)
@click.option("--out", type=FOLDER, help="Write relaxed CIF files and energies.csv there.")
@click.option("--potential", help=f"{POTENTIALS}.  [default: that of the settings]")
@elements_option
@overrides_option
def relax(
    files: tuple[Path, ...],
    out: Path | None,
    potential: str | None,
    elements: tuple[str, ...],
    config: dict[str, Any],
) -> None:
    """Relax crystals from structure files.

    Reads CIF, POSCAR and every format with a cell that ASE reads; a file with several blocks or frames has a row for
    each, such as frames.xyz#3. Cells and positions relax together, in the cells given. Prints energies, space groups and
    the change of volume. A crystal that cannot be read is `failed` and one that cannot be relaxed is `dropped`, with the
    reason; the others are relaxed. What was read with a caution is said. The exit status is 1 if any is `failed`.

    \b
    Examples:
      mapcsp relax guess.cif
      mapcsp relax structures/*.cif --out relaxed --set relax.fmax_ev_per_ang=0.01
      mapcsp relax POSCAR --elements Ti,O --potential chgnet
    """
    from mapcsp.api.structures import relax as run
    from mapcsp.api.structures import write_cif_files

    results = run(list(files), potential=potential, settings=config, elements=elements)
    table = results.table
    shown = ["name", "formula", "status", "energy_ev_per_atom", "formation_energy_ev_per_atom"]
    shown += ["volume_change", "space_group_before", "space_group", "max_force_ev_per_ang", "n_steps"]
    print_table(table[shown])
    for row in table[table["reason"] != ""].itertuples():
        click.echo(f"{row.name}: {row.reason}")
    for row in table[table["caution"] != ""].itertuples():
        click.echo(f"{row.name}: caution: {row.caution}")
    if out is not None:
        with writing(out):
            table["cif"] = write_cif_files(results, out)
        write_csv_file(table, out / "energies.csv")
    if (table["status"] == "failed").any():
        sys.exit(1)


@cli.add(PREDICTION)
@click.argument("pred", type=OLD_FILE)
@click.argument("true", type=OLD_FILE)
@click.option("--potential", help=f"Also compare energies by {POTENTIALS}.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the table there, as CSV.")
@elements_option
@overrides_option
def score(
    pred: Path,
    true: Path,
    potential: str | None,
    out: Path | None,
    elements: tuple[str, ...],
    config: dict[str, Any],
) -> None:
    """Compare a predicted crystal PRED with the TRUE one.

    Both are files of one crystal, as for `mapcsp relax`. Prints whether they match, loosely and strictly, and the metrics
    of AlphaCrystal-II in definitions that do not depend on the choice of cell, origin or order.

    \b
    Examples:
      mapcsp score my-run/results/ranking/cif/3f/NaCl_1.cif NaCl.cif
      mapcsp score guess.cif POSCAR --potential m3gnet --out score.csv
    """
    from mapcsp.api.structures import score as run

    results = run(pred, true, potential=potential, settings=config, elements=elements)
    print_table(results.table)
    for caution in results.cautions:
        click.echo(f"caution: {caution}")
    write_csv_file(results.table, out)


def _entries(
    formulas: tuple[str, ...],
    list_file: Path | None,
    z: int | None,
    space_group: int | None,
    content: bool | None,
    config: dict[str, Any],
) -> tuple[list[FormulaEntry], Settings]:
    """Checked formulas of the arguments or of the list, rejected rows of which are named and passed over."""
    from mapcsp.api.formulas import as_settings, formula_entries, list_entries
    from mapcsp.formulas.intake import reading_notes

    settings = as_settings(config)
    if list_file is None:
        entries = formula_entries(formulas, z, space_group, settings.intake, content)
        for note in reading_notes(entries if content is None else ()):
            say(note)
        return entries, settings
    checked = list_entries(list_file, z, space_group, settings.intake, content)
    for note in checked.notes:
        say(note)
    for row in checked.rejected:
        click.echo(f"rejected: line {row.line}: {row.reason}", err=True)
    return list(checked.accepted), settings
