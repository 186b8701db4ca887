"""Tables and figures as the cards of models show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are text already."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def key_table(figures: Mapping[str, Any]) -> str:
    """Figures by their keys, in order."""
    return markdown_table(["key", "value"], [[f"`{k}`", number(v)] for k, v in sorted(figures.items())])


def curve_table(rows: list[dict[str, str]]) -> str:
    """Some dozen rows of a loss curve, the last one among them."""
    columns = list(rows[0])
    step = max(1, len(rows) // 12)
    shown = [r for i, r in enumerate(rows) if i % step == 0 or i == len(rows) - 1]
    return markdown_table(columns, [[_short(r[c]) for c in columns] for r in shown])


def settings_lines(value: Mapping[str, Any], prefix: str) -> list[str]:
    """Nested settings, a line each: `prefix.outer.inner = value`."""
    lines: list[str] = []
    for key, inner in value.items():
        lines += (
            settings_lines(inner, f"{prefix}.{key}")
            if isinstance(inner, Mapping)
            else [f"{prefix}.{key} = {inner}"]
        )
    return lines


def number(value: Any) -> str:
    """Four significant digits of a fraction, nothing for None, anything else as it is."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
