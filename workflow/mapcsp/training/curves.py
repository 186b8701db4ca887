"""Draws the curves of a training, from the CSV that it writes to an SVG beside it, for cards and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mapcsp.errors import StoreError
from mapcsp.store import atomic_path, read_csv


def draw_curve(table: Path, picture: Path) -> None:
    """Draw a training's curve: losses in one panel, every other figure in a second one, phases one after the other.

    table: CSV with a column `epoch`, perhaps `phase`, and numbers. picture: SVG to write, the same bytes for the same
    table. Raises StoreError if the table has no numbers.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = read_csv(table)
    names = [name for name in (rows[0] if rows else {}) if name not in ("epoch", "phase")]
    if not names:
        raise StoreError(f"{table} holds no training curve; train the model again")
    losses = [name for name in names if "loss" in name]
    panels = [group for group in (losses, [name for name in names if name not in losses]) if group]
    style: dict[Any, Any] = {"svg.hashsalt": "mapcsp", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(style):
        figure, axes = pyplot.subplots(
            1, len(panels), figsize=(4.2 * len(panels), 3.0), squeeze=False, layout="constrained"
        )
        steps = range(1, len(rows) + 1)
        for axis, group in zip(axes[0], panels):
            for name in group:
                axis.plot(steps, [float(row[name]) for row in rows], marker=".", label=name.replace("_", " "))
            for step, row in enumerate(rows[1:], start=1):
                if row.get("phase") != rows[step - 1].get("phase"):
                    axis.axvline(step + 0.5, color="0.8", linewidth=1)
            axis.set_xlabel("epoch")
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7, frameon=False)
        with atomic_path(picture) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
        pyplot.close(figure)
