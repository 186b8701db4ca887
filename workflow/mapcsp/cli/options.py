"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from mapcsp.errors import UserError

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
OLD_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


class WholeNumber(click.IntRange):
    """A whole number within bounds, by a name that people use."""

    name = "whole number"


class SpaceGroup(click.ParamType):
    """A space group by number or symbol; commands get the number."""

    name = "space group"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Number of the group that a text names."""
        from mapcsp.symmetry.symbols import no_space_group, read_space_group

        number = read_space_group(str(value))
        if number is None:
            self.fail(no_space_group(str(value)), param, ctx)
        return number


def input_option(name: str, kind: click.Path = FOLDER, help: str = "") -> Callable[[Command], Command]:
    """A required input, by default the folder that the stage `name` wrote."""
    return click.option(f"--{name}", required=True, type=kind, help=help or f"What the stage {name} wrote.")


def output_option(kind: click.Path) -> Callable[[Command], Command]:
    """The required `--output`."""
    return click.option("--output", required=True, type=kind, help="Where to write.")


def settings_option(command: Command) -> Command:
    """The required `--settings` of a stage."""
    return click.option(
        "--settings", required=True, type=FILE, help="The stage's section, results/settings/*.json."
    )(command)


def device_option(command: Command) -> Command:
    """`--device` of a stage whose own section does not name it: `relax.device`."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to run the second potential; the workflow gives relax.device.",
    )(command)


def folder_of_files(command: Command) -> Command:
    """`--settings`, `--output` and `--manifest` of a stage that takes the whole list and writes a file a formula."""

    @wraps(command)
    def with_manifest(*arguments: Any, output: Path, manifest: Path | None, **keywords: Any) -> None:
        command(*arguments, output=output, **keywords)
        if manifest is not None:
            from mapcsp.provenance import file_sha256
            from mapcsp.store import write_json

            files = sorted(path for path in output.rglob("*") if path.is_file())
            write_json(manifest, {path.relative_to(output).as_posix(): file_sha256(path) for path in files})

    option = click.option(
        "--manifest", type=FILE, help="Also write the hash of every file of the output there."
    )
    return settings_option(output_option(FOLDER)(option(with_manifest)))  # type: ignore[return-value]


def formula_arguments(command: Command) -> Command:
    """`FORMULA…` or `--list FILE`, one of both, and `--z`, `--space-group`, `--content` for all formulas."""

    @wraps(command)
    def checked(*arguments: Any, formulas: tuple[str, ...], list_file: Path | None, **keywords: Any) -> Any:
        if bool(formulas) == (list_file is not None):
            raise click.UsageError("give formulas, such as NaCl SrTiO3, or --list FILE (one of both)")
        return command(*arguments, formulas=formulas, list_file=list_file, **keywords)

    options = (
        click.argument("formulas", nargs=-1, metavar="FORMULA..."),
        click.option("--list", "list_file", type=OLD_FILE, help="List of formulas, as CSV or one a line."),
        click.option(
            "--z",
            metavar="N",
            type=WholeNumber(1),
            help="Formula units in the primitive cell of each formula.",
        ),
        click.option(
            "--space-group",
            metavar="GROUP",
            type=SpaceGroup(),
            help="Space group of each formula: a number, or a symbol such as Fm-3m or P2_1/c.",
        ),
        click.option(
            "--content/--formula-unit",
            default=None,
            help="Whether formulas such as Ti2O4 are the content of a cell, which fixes z, or formulas.  [default: as "
            "usual, Ti2O4 a content and Na2O2 a formula]",
        ),
    )
    for option in reversed(options):
        checked = option(checked)
    return checked  # type: ignore[return-value]


def elements_option(command: Command) -> Command:
    """`--elements Ti,O`, the argument `elements`: symbols for files that name none."""

    def split(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
        return tuple(value.replace(",", " ").split())

    return click.option(
        "--elements",
        metavar="Ti,O",
        default="",
        callback=split,
        help="Elements of POSCAR and LAMMPS files that name none, in the order of their counts or types.",
    )(command)


def overrides_option(command: Command) -> Command:
    """`--config FILE` and `--set KEY=VALUE`, together the argument `config`: settings that differ from the defaults."""

    @wraps(command)
    def with_config(
        *arguments: Any, config_file: Path | None, overrides: tuple[str, ...], **keywords: Any
    ) -> Any:
        return command(*arguments, config=read_overrides(config_file, overrides), **keywords)

    options = (
        click.option(
            "--config", "config_file", type=OLD_FILE, help="YAML file of settings, as config/config.yaml."
        ),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="A setting of config/README.md, such as ranking.top_k=10; may be repeated.",
        ),
    )
    for option in reversed(options):
        with_config = option(with_config)
    return with_config  # type: ignore[return-value]


def read_overrides(config_file: Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Settings of a YAML file, changed by `section.key=value`, values in YAML; raises UserError, naming what is wrong."""
    import yaml

    config: dict[str, Any] = {}
    if config_file is not None:
        try:
            config = yaml.safe_load(config_file.read_text(encoding="utf-8")) or {}
        except UnicodeDecodeError:
            raise UserError(f"{config_file} is not UTF-8 text; write it as config/config.yaml") from None
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
            line = "" if mark is None else f" line {mark.line + 1}"
            raise UserError(f"{config_file}{line} is not YAML ({problem or error}); correct it") from None
        if not isinstance(config, dict):
            raise UserError(f"{config_file} holds no settings; write them as in config/config.yaml")
    for override in overrides:
        name, equals, text = override.partition("=")
        *sections, key = name.split(".")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if not equals or not all((*sections, key)):
            raise UserError(f"--set {override}: expected KEY=VALUE, such as --set ranking.top_k=10")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(
                    f"--set {override}: {section} is no section of the settings; see config/README.md"
                )
        place[key] = value
    return config
