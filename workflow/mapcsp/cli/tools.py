"""Commands that fetch or rebuild what mapcsp stands on, and measure it."""

from __future__ import annotations

from pathlib import Path

import click

from mapcsp.cli.options import FILE, OLD_FILE, output_option
from mapcsp.cli.root import TOOLS, cli


@cli.add(TOOLS)
@click.option(
    "--output", type=FILE, help="Where to write; resources/potentials/m3gnet.safetensors if not given."
)
@click.option(
    "--sdist", type=OLD_FILE, help="A copy of the source package m3gnet 0.2.4, for a machine without network."
)
def fetch_potential(output: Path | None, sdist: Path | None) -> None:
    """Get the original M3GNet weights, checked by their hash."""
    from mapcsp.relax.fetch import fetch_m3gnet

    click.echo(fetch_m3gnet(output, sdist))


@cli.add(TOOLS)
@output_option(FILE)
@click.option("--max-atoms", default=24, show_default=True, help="Most atoms in a primitive cell.")
@click.option("--max-elements", default=4, show_default=True, help="Most elements.")
@click.option(
    "--max-above-hull", default=0.1, show_default=True, help="Highest energy above the hull, eV/atom."
)
def fetch_structures(output: Path, max_atoms: int, max_elements: int, max_above_hull: float) -> None:
    """Fetch structures from the Materials Project into a table to train on (key in MP_API_KEY; resumes)."""
    from tqdm import tqdm

    from mapcsp.training.fetch_structures import fetch_structures

    with tqdm(desc="fetch", unit="crystal", mininterval=5) as bar:
        count = fetch_structures(output, max_atoms, max_elements, max_above_hull, progress=bar.update)
    click.echo(f"{output}: {count} crystals")


@cli.add(TOOLS)
@click.option("--potential", default="m3gnet", show_default=True, help="As in relax.potential.")
def references(potential: str) -> None:
    """Compute the elements' reference energies with a potential (minutes; writes resources/tables)."""
    from mapcsp.relax.backends import load_potential
    from mapcsp.relax.references import write_references

    click.echo(write_references(load_potential(potential)))


@cli.add(TOOLS)
@output_option(FILE)
def build_element_table(output: Path) -> None:
    """Write resources/tables/element_features.csv anew from its data packages."""
    from mapcsp.features.build_table import build_element_table

    build_element_table(output)


@cli.add(TOOLS)
@output_option(FILE)
def build_wyckoff_table(output: Path) -> None:
    """Write resources/tables/wyckoff.json anew; needs the extra `tables`."""
    from mapcsp.symmetry.build_table import build_wyckoff_table

    build_wyckoff_table(output)


@cli.add(TOOLS)
@output_option(FILE)
def build_normaliser_table(output: Path) -> None:
    """Write resources/tables/normalisers.json anew."""
    from mapcsp.symmetry.normaliser import build_normaliser_table

    build_normaliser_table(output)


@cli.add(TOOLS)
@click.argument("tables", nargs=-1, required=True, type=OLD_FILE)
@output_option(FILE)
@click.option(
    "--figures",
    type=FILE,
    help="Also judge counts without the held-out formulas, and write the figures there.",
)
def build_cell_size_table(tables: tuple[Path, ...], output: Path, figures: Path | None) -> None:
    """Write resources/tables/cell_sizes.json anew from structure tables: formula units in primitive cells."""
    from mapcsp.training.symmetry.cell_sizes import build_cell_size_table

    build_cell_size_table(tables, output, figures)


@cli.add(TOOLS)
@output_option(FILE)
def bench(output: Path) -> None:
    """Measure how fast the stages are on this machine."""
    from mapcsp.benchmark.speed import run_bench

    run_bench(output)


@cli.add(TOOLS)
@click.option("--check", is_flag=True, help="Write nothing; fail if a file differs.")
def settings_docs(check: bool) -> None:
    """Write config/config.yaml, config/README.md and workflow/schemas from the settings model."""
    from mapcsp.settings_docs import check_settings_docs, write_settings_docs

    if check:
        check_settings_docs()
    else:
        write_settings_docs()


@cli.add(TOOLS)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL (bash, zsh or fish) complete commands and options.

    \b
    Examples:
      eval "$(mapcsp completion bash)"               # in ~/.bashrc
      eval "$(mapcsp completion zsh)"                # in ~/.zshrc
      mapcsp completion fish > ~/.config/fish/completions/mapcsp.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "mapcsp", "_MAPCSP_COMPLETE").source())


@cli.add(TOOLS)
@click.option("--count", required=True, type=click.IntRange(1), help="Formulas to write.")
@click.option(
    "--seed",
    default=1,
    show_default=True,
    help="Which formulas; the first ones of a longer list are the same.",
)
@click.option("--max-atoms", default=12, show_default=True, help="Most atoms in a formula unit.")
@output_option(FILE)
def generate_formulas(count: int, seed: int, max_atoms: int, output: Path) -> None:
    """Write a list of charge-neutral compositions, to try long lists on."""
    from mapcsp.formulas.generate import run_generate_formulas

    run_generate_formulas(count, seed, max_atoms, output)
