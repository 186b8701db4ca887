"""The stages of the workflow, each the same as its rule's command, so that any can be repeated by hand."""

from __future__ import annotations

from pathlib import Path

import click

from mapcsp.cli.options import (
    FILE,
    FOLDER,
    device_option,
    folder_of_files,
    input_option,
    output_option,
    settings_option,
)
from mapcsp.cli.root import STAGES, InOrder, cli


@cli.add(STAGES, cls=InOrder)
def stage() -> None:
    """Run one stage on files, as the workflow does.

    The stages in their order; `snakemake --printshellcmds` shows the command of each job, which can be pasted.
    """


@stage.command()
@input_option(
    "formulas", FILE, "Formula list: CSV with a column `formula` (and id, z, space_group), or one a line."
)
@click.option("--earlier", type=FILE, help="ranking.csv of an earlier run, to name what the list would lose.")
@folder_of_files
def intake(formulas: Path, earlier: Path | None, settings: Path, output: Path) -> None:
    """Read the formula list; reject what cannot be used, with reasons."""
    from mapcsp.formulas.intake import run_intake

    run_intake(formulas, settings, output, earlier)


@stage.command()
@input_option("intake")
@folder_of_files
def features(intake: Path, settings: Path, output: Path) -> None:
    """Elemental features of each formula."""
    from mapcsp.features.tensors import run_features

    run_features(intake, settings, output)


@stage.command()
@input_option("intake")
@folder_of_files
def symmetry(intake: Path, settings: Path, output: Path) -> None:
    """Predict Z, symmetry labels, space groups and cells."""
    from mapcsp.symmetry.predict import run_symmetry

    run_symmetry(intake, settings, output)


@stage.command()
@input_option("intake")
@input_option("features")
@input_option("symmetry")
@folder_of_files
def maps(intake: Path, features: Path, symmetry: Path, settings: Path, output: Path) -> None:
    """Predict distance and contact maps."""
    from mapcsp.maps.run import run_maps

    run_maps(intake, features, symmetry, settings, output)


@stage.command()
@input_option("intake")
@input_option("symmetry")
@input_option("maps")
@settings_option
@input_option("run", FILE, "The run's seed, results/settings/run.json.")
@output_option(FOLDER)
def plan(intake: Path, symmetry: Path, maps: Path, settings: Path, run: Path, output: Path) -> None:
    """Cut the predictions into searches, and the searches into jobs."""
    from mapcsp.planning.plan import run_plan

    run_plan(intake, symmetry, maps, settings, run, output)


@stage.command()
@input_option("plan")
@click.option("--bucket", required=True, help="Job of the plan's buckets.json, such as 3f/NaCl-225.")
@settings_option
@click.option(
    "--finished",
    type=FOLDER,
    help="Where finished searches are kept, so that a repeated job does not redo them.",
)
@output_option(FILE)
def reconstruct(plan: Path, bucket: str, settings: Path, finished: Path | None, output: Path) -> None:
    """Run the genetic searches of one bucket."""
    from mapcsp.ga.reconstruct import run_reconstruct
    from mapcsp.planning.tables import bucket_files

    run_reconstruct(list(bucket_files(plan, bucket)), settings, output, finished)


@stage.command()
@input_option("plan")
@click.option("--chunk", required=True, help="Job of the plan's chunks.json, such as 3f/NaCl.")
@input_option("searches", FOLDER, "What the stage reconstruct wrote.")
@settings_option
@output_option(FILE)
def pool(plan: Path, chunk: str, searches: Path, settings: Path, output: Path) -> None:
    """Merge the searches of each formula of one chunk into the candidates to relax."""
    from mapcsp.ga.pool import run_pool
    from mapcsp.planning.tables import read_chunk

    members = read_chunk(plan, chunk)
    run_pool([searches / f"{b}.jsonl" for b in members.buckets], list(members.formula_ids), settings, output)


@stage.command()
@input_option("pool", FILE, "Pools of one chunk.")
@settings_option
@output_option(FILE)
def prerelax(pool: Path, settings: Path, output: Path) -> None:
    """Relax the candidates of one chunk in one pass by DeepRelax (`relax.prerelax`)."""
    from mapcsp.deeprelax.run import run_prerelax

    run_prerelax(pool, settings, output)


@stage.command()
@input_option("pool", FILE)
@input_option("weights", FILE, "Converted M3GNet weights, resources/potentials/m3gnet.safetensors.")
@settings_option
@output_option(FILE)
@click.option(
    "--finished", type=FOLDER, help="Keep each relaxed formula there, so that a repeated job finds it."
)
@click.option("--trajectories", type=FOLDER, help="Where relax.trajectory writes.")
@click.option("--phases", type=FOLDER, help="Where phases fetched from the Materials Project are kept.")
def relax(
    pool: Path,
    weights: Path,
    settings: Path,
    output: Path,
    finished: Path | None,
    trajectories: Path | None,
    phases: Path | None,
) -> None:
    """Relax the candidates of one chunk."""
    from mapcsp.relax.relax import run_relax

    hull = run_relax([pool], settings, weights, output, None, finished, trajectories, phases)
    click.echo(hull, err=True)


@stage.command()
@input_option("relaxed", FILE, "Relaxed pools of one chunk.")
@settings_option
@output_option(FILE)
@device_option
def rescore(relaxed: Path, settings: Path, output: Path, device: str) -> None:
    """Give the likeliest relaxed candidates the energy of a second potential (needs the extra sevennet)."""
    from mapcsp.relax.rescore import run_rescore

    run_rescore(relaxed, settings, output, device)


@stage.command()
@input_option("intake")
@input_option("symmetry")
@input_option("plan")
@input_option("pools", FOLDER, "What the stage pool wrote.")
@input_option("relaxed", FOLDER, "What the stage rescore wrote, or relax.")
@settings_option
@output_option(FOLDER)
def rank(
    intake: Path, symmetry: Path, plan: Path, pools: Path, relaxed: Path, settings: Path, output: Path
) -> None:
    """Rank every formula's candidates; write the table and the CIF files."""
    from mapcsp.planning.tables import chunk_names
    from mapcsp.ranking.run import run_rank

    files = [f"{chunk}.jsonl" for chunk in chunk_names(plan)]
    run_rank(
        [relaxed / f for f in files],
        [pools / f for f in files],
        intake / "index.json",
        settings,
        output,
        symmetry_dir=symmetry,
    )


@stage.command()
@input_option("ranking", FOLDER, "What the stage rank wrote.")
@input_option("intake")
@input_option("maps")
@settings_option
@output_option(FILE)
def report(ranking: Path, intake: Path, maps: Path, settings: Path, output: Path) -> None:
    """Write the HTML report."""
    from mapcsp.report.run import run_report

    run_report(ranking, intake, settings, output, sorted(maps.glob("*/*.safetensors")))
