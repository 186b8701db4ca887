"""The benchmark's jobs, each the same as its rule's command."""

from __future__ import annotations

from pathlib import Path

import click

from mapcsp.cli.options import FILE, FOLDER, device_option, input_option, output_option, settings_option
from mapcsp.cli.stages import stage

_settings_folder = click.option(
    "--settings", required=True, type=FOLDER, help="Folder of frozen settings, results/settings."
)
_targets = input_option("targets", FILE, "Crystals of one chunk, drawn by benchmark-sample.")
_cost_output = click.option("--cost", required=True, type=FILE, help="Where to write what it cost.")
_variants = click.option("--variant", "variants", multiple=True, required=True, help="A variant; repeatable.")


@stage.command()
@input_option("table", FILE, "Structure table, parquet in the data schema.")
@_settings_folder
@output_option(FOLDER)
def benchmark_sample(table: Path, settings: Path, output: Path) -> None:
    """Draw the known crystals of a benchmark and cut them into chunks."""
    from mapcsp.benchmark.targets import run_sample

    run_sample(table, settings, output)


@stage.command()
@input_option("table", FILE, "Structure table, parquet in the data schema.")
@output_option(FILE)
def benchmark_templates(table: Path, output: Path) -> None:
    """Find the labels of known crystals, which the variant `template` fills with other elements."""
    from mapcsp.benchmark.targets import run_templates

    run_templates(table, output)


@stage.command()
@_targets
@click.option(
    "--source", required=True, help="Whose candidates: full, cmcrystal, dmcrystal, prototype, random, …"
)
@_settings_folder
@input_option("weights", FILE, "Converted M3GNet weights.")
@output_option(FILE)
@_cost_output
@click.option("--full-pools", type=FILE, help="Pools of the source `full`; `random` relaxes as many.")
@click.option("--template", "templates", type=FILE, multiple=True, help="What benchmark-templates wrote.")
def benchmark_predict(
    targets: Path,
    source: str,
    settings: Path,
    weights: Path,
    output: Path,
    cost: Path,
    full_pools: Path | None,
    templates: tuple[Path, ...],
) -> None:
    """Predict and relax the crystals of one chunk."""
    from mapcsp.benchmark.predict import run_predict

    run_predict(targets, source, settings, weights, output, cost, full_pools, templates)


@stage.command()
@input_option("pools", FILE, "Relaxed pools of one chunk.")
@settings_option
@output_option(FILE)
@_cost_output
@device_option
def benchmark_rescore(pools: Path, settings: Path, output: Path, cost: Path, device: str) -> None:
    """Give the pools of one chunk second energies, and time it."""
    from mapcsp.benchmark.rescored import run_rescored

    run_rescored(pools, settings, output, cost, device)


@stage.command()
@_targets
@input_option("pools", FILE, "Relaxed pools of one chunk.")
@input_option("cost", FILE, "What they cost.")
@settings_option
@input_option("weights", FILE, "Converted M3GNet weights, for the energy distance.")
@_variants
@click.option("--distances/--no-distances", default=True, help="Measure the first answers' distances.")
@output_option(FILE)
def benchmark_judge(
    targets: Path,
    pools: Path,
    cost: Path,
    settings: Path,
    weights: Path,
    variants: tuple[str, ...],
    distances: bool,
    output: Path,
) -> None:
    """Compare the answers of one chunk with the known crystals."""
    from mapcsp.benchmark.judge import run_judge

    run_judge(targets, pools, cost, settings, variants, weights, distances, output)


@stage.command()
@click.option("--benchmark", required=True, type=FOLDER, help="Folder of the benchmark, results/benchmark.")
@_settings_folder
@_variants
@output_option(FOLDER)
def benchmark_summary(benchmark: Path, settings: Path, variants: tuple[str, ...], output: Path) -> None:
    """Gather the judged chunks into tables and a page."""
    from mapcsp.benchmark.summary import run_summary

    run_summary(benchmark, settings, variants, output)
