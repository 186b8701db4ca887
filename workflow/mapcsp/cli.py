"""The command `mapcsp`: one subcommand a stage, each the same as its rule's command, so that any can be repeated by hand.

Nothing heavy is imported before a subcommand runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

import mapcsp
from mapcsp.errors import UserError

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
# Libraries read these once, at import.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    """Run the command line; a user's mistake ends with one line and status 2, a bug with its traceback."""
    try:
        cli()
    except UserError as error:
        click.echo(f"mapcsp: error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)


class _InOrder(click.Group):
    """A group that lists its commands in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(mapcsp.__version__)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Most threads of a numerical library.",
)
def cli(threads: int) -> None:
    """Crystal structures from formulas alone.

    `snakemake --cores all` runs everything; the subcommands are its stages, in this order.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))


def _settings(command: Command) -> Command:
    return click.option(
        "--settings", required=True, type=FILE, help="The stage's section, results/settings/*.json."
    )(command)


def _input(name: str, kind: click.Path = FOLDER, help: str = "") -> Callable[[Command], Command]:
    return click.option(f"--{name}", required=True, type=kind, help=help or f"What the stage {name} wrote.")


def _output(kind: click.Path) -> Callable[[Command], Command]:
    return click.option("--output", required=True, type=kind, help="Where to write.")


_manifest = click.option(
    "--manifest", type=FILE, help="Also write the hash of every file of the output there."
)


@cli.command()
@_input(
    "formulas", FILE, "Formula list: CSV with a column `formula` (and id, z, space_group), or one a line."
)
@_settings
@_output(FOLDER)
@_manifest
def intake(formulas: Path, settings: Path, output: Path, manifest: Path | None) -> None:
    """Read the formula list; reject what cannot be used, with reasons."""
    from mapcsp.formulas.intake import run_intake

    run_intake(formulas, settings, output)
    _write_manifest(output, manifest)


@cli.command()
@_input("intake")
@_settings
@_output(FOLDER)
@_manifest
def features(intake: Path, settings: Path, output: Path, manifest: Path | None) -> None:
    """Elemental features of each formula."""
    from mapcsp.features.tensors import run_features

    run_features(intake, settings, output)
    _write_manifest(output, manifest)


@cli.command()
@_input("intake")
@_settings
@_output(FOLDER)
@_manifest
def symmetry(intake: Path, settings: Path, output: Path, manifest: Path | None) -> None:
    """Predict Z, symmetry labels, space groups and cells."""
    from mapcsp.symmetry.predict import run_symmetry

    run_symmetry(intake, settings, output)
    _write_manifest(output, manifest)


@cli.command()
@_input("intake")
@_input("features")
@_input("symmetry")
@_settings
@_output(FOLDER)
@_manifest
def maps(
    intake: Path, features: Path, symmetry: Path, settings: Path, output: Path, manifest: Path | None
) -> None:
    """Predict distance and contact maps."""
    from mapcsp.maps.run import run_maps

    run_maps(intake, features, symmetry, settings, output)
    _write_manifest(output, manifest)


@cli.command()
@_input("intake")
@_input("symmetry")
@_input("maps")
@_settings
@_input("run", FILE, "The run's seed, results/settings/run.json.")
@_output(FOLDER)
def plan(intake: Path, symmetry: Path, maps: Path, settings: Path, run: Path, output: Path) -> None:
    """Cut the predictions into searches, and the searches into jobs."""
    from mapcsp.planning.plan import run_plan

    run_plan(intake, symmetry, maps, settings, run, output)


@cli.command()
@_input("plan")
@click.option("--bucket", required=True, help="Job of the plan's buckets.json, such as 3f/NaCl-225.")
@_settings
@_output(FILE)
def reconstruct(plan: Path, bucket: str, settings: Path, output: Path) -> None:
    """Run the genetic searches of one bucket."""
    from mapcsp.ga.reconstruct import run_reconstruct
    from mapcsp.planning.tables import bucket_files

    run_reconstruct(list(bucket_files(plan, bucket)), settings, output)


@cli.command()
@_input("plan")
@click.option("--chunk", required=True, help="Job of the plan's chunks.json, such as 3f/NaCl.")
@_input("searches", FOLDER, "What the stage reconstruct wrote.")
@_settings
@_output(FILE)
def pool(plan: Path, chunk: str, searches: Path, settings: Path, output: Path) -> None:
    """Merge the searches of each formula of one chunk into the candidates to relax."""
    from mapcsp.ga.pool import run_pool
    from mapcsp.planning.tables import read_chunk

    members = read_chunk(plan, chunk)
    run_pool([searches / f"{b}.jsonl" for b in members.buckets], list(members.formula_ids), settings, output)


@cli.command()
@_input("pool", FILE)
@_input("weights", FILE, "Converted M3GNet weights, resources/potentials/m3gnet.safetensors.")
@_settings
@_output(FILE)
def relax(pool: Path, weights: Path, settings: Path, output: Path) -> None:
    """Relax the candidates of one chunk."""
    from mapcsp.relax.relax import run_relax

    run_relax([pool], settings, weights, output)


@cli.command()
@_input("intake")
@_input("plan")
@_input("pools", FOLDER, "What the stage pool wrote.")
@_input("relaxed", FOLDER, "What the stage relax wrote.")
@_settings
@_output(FOLDER)
def rank(intake: Path, plan: Path, pools: Path, relaxed: Path, settings: Path, output: Path) -> None:
    """Rank every formula's candidates; write the table and the CIF files."""
    from mapcsp.planning.tables import chunk_names
    from mapcsp.ranking.run import run_rank

    files = [f"{chunk}.jsonl" for chunk in chunk_names(plan)]
    run_rank(
        [relaxed / f for f in files], [pools / f for f in files], intake / "index.json", settings, output
    )


@cli.command()
@_input("ranking", FOLDER, "What the stage rank wrote.")
@_input("intake")
@_input("maps")
@_settings
@_output(FILE)
def report(ranking: Path, intake: Path, maps: Path, settings: Path, output: Path) -> None:
    """Write the HTML report."""
    from mapcsp.report.run import run_report

    run_report(ranking, intake, settings, output, sorted(maps.glob("*/*.safetensors")))


@cli.command()
@click.option(
    "--output", type=FILE, help="Where to write; resources/potentials/m3gnet.safetensors if not given."
)
@click.option(
    "--sdist", type=FILE, help="A copy of the source package m3gnet 0.2.4, for a machine without network."
)
def fetch_potential(output: Path | None, sdist: Path | None) -> None:
    """Get the original M3GNet weights, checked by their hash."""
    from mapcsp.relax.fetch import fetch_m3gnet

    click.echo(fetch_m3gnet(output, sdist))


@cli.command()
@click.option("--potential", default="m3gnet", show_default=True, help="As in relax.potential.")
def references(potential: str) -> None:
    """Compute the elements' reference energies with a potential (minutes; writes resources/tables)."""
    from mapcsp.relax.backends import load_potential
    from mapcsp.relax.references import write_references

    click.echo(write_references(load_potential(potential)))


@cli.command()
@_output(FILE)
def build_element_table(output: Path) -> None:
    """Write resources/tables/element_features.csv anew from its data packages."""
    from mapcsp.features.build_table import build_element_table

    build_element_table(output)


@cli.command()
@_output(FILE)
def build_wyckoff_table(output: Path) -> None:
    """Write resources/tables/wyckoff.json anew; needs the extra `tables`."""
    from mapcsp.symmetry.build_table import build_wyckoff_table

    build_wyckoff_table(output)


@cli.command()
@_output(FILE)
def build_normaliser_table(output: Path) -> None:
    """Write resources/tables/normalisers.json anew."""
    from mapcsp.symmetry.normaliser import build_normaliser_table

    build_normaliser_table(output)


@cli.command()
@click.argument("tables", nargs=-1, required=True, type=FILE)
@_input("validation", FILE, "Structure table to judge the model on.")
@_input("work", FOLDER, "Folder for encoded tables and the checkpoint.")
@_output(FOLDER)
def train_symmetry(tables: tuple[Path, ...], validation: Path, work: Path, output: Path) -> None:
    """Train the symmetry model on structure tables; a killed run goes on from its checkpoint."""
    from mapcsp.training.symmetry_run import run_train_symmetry

    run_train_symmetry(tables, validation, work, output)


@cli.command()
@click.argument("tables", nargs=-1, required=True, type=FILE)
@_input("work", FOLDER, "Folder for encoded tables and relaxed pools.")
@click.option("--count", default=160, show_default=True, help="Formulas to fit on.")
@click.option(
    "--terms", default="two", show_default=True, type=click.Choice(["two", "all"]), help="Features to fit."
)
@_output(FOLDER)
def train_ranker(
    tables: tuple[Path, ...], work: Path, count: int, terms: Literal["two", "all"], output: Path
) -> None:
    """Fit the ranking on formulas that no network was trained on (hours; a killed run goes on)."""
    from mapcsp.settings import Settings
    from mapcsp.training.ranker import run_train_ranker

    run_train_ranker(tables, work, output, count, Settings(), terms)


@cli.command()
@click.argument("table", type=FILE)
@_input("work", FOLDER, "Folder for encoded tables and relaxed pools.")
@click.option("--count", default=100, show_default=True, help="Crystals to predict.")
@click.option("--max-atoms", default=20, show_default=True, help="Most atoms of a crystal's primitive cell.")
@click.option("--seed", default=1, show_default=True, help="Which crystals are drawn.")
@click.option(
    "--z-known/--z-unknown", default=True, show_default=True, help="Give the true z, or only the formula."
)
@_output(FOLDER)
def benchmark(
    table: Path, work: Path, count: int, max_atoms: int, seed: int, z_known: bool, output: Path
) -> None:
    """Predict known crystals from their formulas and say how good the answers are."""
    from mapcsp.benchmark.run import run_benchmark
    from mapcsp.settings import Settings

    run_benchmark(table, count, max_atoms, seed, z_known, Settings(), work, output)


@cli.command()
@_output(FILE)
def bench(output: Path) -> None:
    """Measure how fast the stages are on this machine."""
    from mapcsp.benchmark.speed import run_bench

    run_bench(output)


@cli.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a file differs.")
def settings_docs(check: bool) -> None:
    """Write config/config.yaml, config/README.md and workflow/schemas from the settings model."""
    from mapcsp.settings_docs import check_settings_docs, write_settings_docs

    if check:
        check_settings_docs()
    else:
        write_settings_docs()


def _write_manifest(folder: Path, manifest: Path | None) -> None:
    from mapcsp.provenance import file_sha256
    from mapcsp.store import write_json

    if manifest is not None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        write_json(manifest, {path.relative_to(folder).as_posix(): file_sha256(path) for path in files})
