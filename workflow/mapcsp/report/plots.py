"""Plots as inline SVG: energy against volume of a pool, a powder pattern, a map as a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from mapcsp.records import CandidateSummary

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 44


@dataclass(frozen=True)
class Axis:
    """A linear axis: data range, pixel range and round ticks."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        """Pixel of a data value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        """Four to eight round values within the range."""
        raw = (self.high - self.low) / 5
        magnitude = 10.0 ** math.floor(math.log10(raw))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9) * step
        return [round(first + i * step, 10) for i in range(int((self.high - first) / step + 1e-9) + 1)]


def axis(values: Sequence[float], start: float, stop: float, least: float) -> Axis:
    """An axis around values with a margin; `least` is the smallest span that it covers."""
    low, high = min(values), max(values)
    span = max(high - low, least)
    middle = (low + high) / 2
    return Axis(middle - 0.58 * span, middle + 0.58 * span, start, stop)


def energy_volume_svg(candidates: Sequence[CandidateSummary], title: str) -> Markup | None:
    """Energy above the pool's lowest against volume of all relaxed candidates; None if none has an energy.

    Ranked structures are numbered and filled, the others are rings. Units: eV/atom and Å³/atom.
    """
    points = [
        (c, c.energy_ev_per_atom, c.volume_ang3_per_atom)
        for c in candidates
        if c.energy_ev_per_atom is not None and c.volume_ang3_per_atom is not None
    ]
    if not points:
        return None
    lowest = min(energy for _, energy, _ in points)
    x = axis([volume for *_, volume in points], LEFT, WIDTH - RIGHT, least=1.0)
    highest = max(*(energy - lowest for _, energy, _ in points), 0.02)
    y = Axis(-0.08 * highest, 1.08 * highest, HEIGHT - BOTTOM, TOP)
    parts = [_frame(x, y, "volume (Å³ per atom)", "energy above lowest (eV per atom)")]
    # Ranked points last, the best on top of all.
    for c, energy, volume in sorted(points, key=lambda p: -(p[0].rank or 1000)):
        label = f"{c.candidate_id}: {energy - lowest:.3f} eV/atom, {volume:.2f} Å³/atom, {c.label_key}"
        place = f'cx="{x.place(volume):.1f}" cy="{y.place(energy - lowest):.1f}"'
        kind = "ranked first" if c.rank == 1 else "ranked" if c.rank else "other"
        radius = 8 if c.rank else 4
        parts.append(
            f'<circle class="dot {kind}" {place} r="{radius}"><title>{escape(label)}</title></circle>'
        )
        if c.rank:
            spot = f'x="{x.place(volume):.1f}" y="{y.place(energy - lowest) + 3.5:.1f}"'
            parts.append(f'<text class="dot-label" {spot}>{c.rank}</text>')
    return _svg(parts, f"{title}: energy against volume of {len(points)} relaxed candidates")


def powder_svg(two_theta_deg: Sequence[float], intensity: Sequence[float], title: str) -> Markup:
    """A stick pattern: angles 2θ in degrees, intensities in percent of the strongest line."""
    x = Axis(10.0, 90.0, LEFT, WIDTH - RIGHT)
    y = Axis(0.0, 105.0, HEIGHT - BOTTOM, TOP)
    parts = [_frame(x, y, "2θ (degrees, Cu Kα)", "intensity (%)")]
    for angle, height in zip(two_theta_deg, intensity):
        if x.low <= angle <= x.high and height >= 0.5:
            parts.append(
                f'<line class="stick" x1="{x.place(angle):.1f}" x2="{x.place(angle):.1f}" '
                f'y1="{y.place(0):.1f}" y2="{y.place(height):.1f}"><title>{angle:.2f}°, {height:.0f} %</title></line>'
            )
    return _svg(parts, f"{title}: simulated powder pattern")


def heat_map_svg(values: np.ndarray, species: Sequence[str], high: float, title: str, unit: str) -> Markup:
    """A square map, (n, n), as coloured cells from 0 (light) to `high` (dark), with a row and column name an atom."""
    n = len(species)
    side, margin = 216 / n, 26
    parts = []
    for i in range(n):
        for j in range(n):
            share = min(max(float(values[i, j]) / high, 0.0), 1.0) if high > 0 else 0.0
            red, green, blue = (round(a + (b - a) * share) for a, b in zip((244, 247, 251), (16, 62, 120)))
            name = f"{species[i]}{i + 1}–{species[j]}{j + 1}: {values[i, j]:.2f} {unit}".strip()
            parts.append(
                f'<rect x="{margin + j * side:.1f}" y="{margin + i * side:.1f}" width="{side + 0.3:.1f}" '
                f'height="{side + 0.3:.1f}" fill="rgb({red},{green},{blue})"><title>{escape(name)}</title></rect>'
            )
    for i, symbol in enumerate(species):
        middle = margin + (i + 0.5) * side
        parts.append(f'<text class="tick end" x="{margin - 4}" y="{middle + 4:.1f}">{escape(symbol)}</text>')
        parts.append(f'<text class="tick middle" x="{middle:.1f}" y="{margin - 6}">{escape(symbol)}</text>')
    return _svg(parts, title, width=margin + 220, height=margin + 220)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> str:
    parts = [
        f'<rect class="frame" x="{x.start}" y="{y.stop}" width="{x.stop - x.start}" height="{y.start - y.stop}"/>'
    ]
    for value in x.ticks:
        spot = x.place(value)
        parts.append(f'<line class="grid" x1="{spot:.1f}" x2="{spot:.1f}" y1="{y.start}" y2="{y.stop}"/>')
        parts.append(f'<text class="tick middle" x="{spot:.1f}" y="{y.start + 16}">{value:g}</text>')
    for value in y.ticks:
        spot = y.place(value)
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.stop}" y1="{spot:.1f}" y2="{spot:.1f}"/>')
        parts.append(f'<text class="tick end" x="{x.start - 6}" y="{spot + 4:.1f}">{value:g}</text>')
    middle = (y.start + y.stop) / 2
    parts.append(
        f'<text class="axis middle" x="{(x.start + x.stop) / 2}" y="{y.start + 36}">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="axis middle" transform="translate(15 {middle}) rotate(-90)">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _svg(parts: Sequence[str], title: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    body = "".join(parts)
    head = f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return Markup(f"{head}<title>{escape(title)}</title>{body}</svg>")
