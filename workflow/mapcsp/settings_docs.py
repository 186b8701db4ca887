"""Generates what documents the settings, from the settings themselves: defaults, reference table and JSON schema.

`mapcsp settings-docs` writes the files and `--check`, part of `make check`, fails if one differs.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from mapcsp.errors import UserError
from mapcsp.provenance import PACKAGE
from mapcsp.settings import SECTIONS, Settings

WIDTH = 110
BOUND_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def generated_files(repository: Path | None = None) -> dict[Path, str]:
    """Path and text of every generated file."""
    root = repository or PACKAGE.parents[1]
    return {
        root / "config" / "config.yaml": config_yaml(),
        root / "config" / "README.md": settings_reference(),
        root / "workflow" / "schemas" / "config.schema.json": config_schema(),
    }


def write_settings_docs(repository: Path | None = None) -> None:
    """Write all generated files."""
    for path, text in generated_files(repository).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check_settings_docs(repository: Path | None = None) -> None:
    """Raise UserError, naming the command, if a generated file is missing or differs."""
    stale = [
        path
        for path, text in generated_files(repository).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if stale:
        raise UserError(
            f"{', '.join(map(str, stale))}: not what the settings say; run `mapcsp settings-docs`"
        )


def config_yaml() -> str:
    """The defaults as YAML, each key explained: config/config.yaml."""
    lines = [
        "# Every setting with its default. Change values here, or leave this file alone and override some of them:",
        "#   snakemake --config seed=2 'ranking={top_k: 3}'     or     snakemake --configfile my.yaml",
        "# Keys and explanations are generated from workflow/mapcsp/settings.py (mapcsp settings-docs).",
    ]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"# {_first_line(SECTIONS[name])}", f"{name}:"]
            for key, info in SECTIONS[name].model_fields.items():
                lines += _entry(key, info, "  ")
        else:
            lines += ["", *_entry(name, field, "")]
    return "\n".join(lines) + "\n"


def settings_reference() -> str:
    """All settings as tables: config/README.md."""
    lines = [
        "# Settings",
        "",
        "Generated from `workflow/mapcsp/settings.py` by `mapcsp settings-docs`; do not edit.",
        "An unknown key or a value out of bounds ends the run with one line. A change reruns the stages that read it, and",
        "what follows them: a change of `ranking` reruns ranking and report alone.",
        "",
        "Override some of them for one run with `--config 'ranking={top_k: 3}' seed=2`, or in a file with the same",
        "structure, `--configfile my.yaml`.",
        "",
        "## The run",
        "",
        *_table({n: f for n, f in Settings.model_fields.items() if n not in SECTIONS}),
    ]
    for name, section in SECTIONS.items():
        lines += ["", f"## `{name}`", "", _first_line(section), "", *_table(section.model_fields)]
    lines += [
        "",
        "## The formula list",
        "",
        "A table with a header (commas, semicolons, tabs or `|`), or one formula a line. Lines with `#` are comments.",
        "Columns go by these names or those of databases (`formula_pretty`, `material_id`, `spacegroup.symbol`, …);",
        "others are not read, which `predict` and the log of the intake say.",
        "",
        "| column | meaning |",
        "|---|---|",
        "| `formula` | `SrTiO3`, `CaSO4·2H2O`, or the content of a primitive cell such as `Ti2O4`, which fixes z |",
        "| `id` | optional; names the files of this formula: letters, digits, `_`, `-`, `.` |",
        "| `z` | optional; units of the formula, as it is written, in the primitive cell |",
        "| `space_group` | optional; number from 1 to 230, or a symbol such as `Fm-3m`, `P2_1/c` or `P 63/m m c` |",
        "| `content` | optional; `true` for the content of a primitive cell, `false` for a formula |",
        "",
        "Where `content` is empty, a formula with a common factor is a content (`Ti2O4`), unless chemists write it so:",
        "elements (`O2`, `P4`), peroxides and the like (`Na2O2`, `K2S2`), mercurous salts (`Hg2Cl2`) and molecules",
        "(`N2O4`, `Al2Cl6`). Of these the cell holds whole units, and z counts them: 3 for Na2O2.",
    ]
    return "\n".join(lines) + "\n"


def config_schema() -> str:
    """The JSON schema of the config, for editors: workflow/schemas/config.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _entry(key: str, info: FieldInfo, indent: str) -> list[str]:
    allowed = _allowed(info)
    comment = f"{info.description} ({allowed})" if allowed else str(info.description)
    wrapped = textwrap.wrap(comment, WIDTH - len(indent) - 2)
    return [f"{indent}# {line}" for line in wrapped] + [f"{indent}{key}: {_yaml_value(info.default)}"]


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = [
        f"| `{name}` | `{_yaml_value(info.default)}` | {_allowed(info) or _kind(info)} | {_escape(info.description)} |"
        for name, info in fields.items()
    ]
    return ["| setting | default | allowed | meaning |", "|---|---|---|---|", *rows]


def _allowed(info: FieldInfo) -> str:
    """Bounds or choices, in words; empty where any value of the kind will do."""
    bounds = [
        f"{sign} {value:,}"
        for bound in info.metadata
        for name, sign in BOUND_SIGNS.items()
        if (value := getattr(bound, name, None)) is not None
    ]
    choices = getattr(info.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    return ", ".join(bounds)


def _kind(info: FieldInfo) -> str:
    return {bool: "true, false", str: "text"}.get(info.annotation, "list of text")  # type: ignore[arg-type]


def _escape(text: str | None) -> str:
    # A bar would end the table's cell.
    return (text or "").replace("|", "\\|")


def _yaml_value(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _first_line(section: type) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]
