"""What each part of the report shows, worked out from the records of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

from mapcsp.crystals import space_group_symbol
from mapcsp.records import CandidateSummary, FormulaMaps, FormulaOutcome, RankedStructure
from mapcsp.report.facts import Fact, RunContext, doubt_of, fitness_facts, structure_facts
from mapcsp.report.files import Download, download
from mapcsp.report.maps import MapView, map_view
from mapcsp.report.notation import formula_html, percent, space_group_html
from mapcsp.report.plots import energy_volume_svg, powder_svg
from mapcsp.report.view3d import scene


@dataclass(frozen=True)
class StructureView:
    """One ranked structure as the page shows it; key is unique in the report."""

    key: str
    ranked: RankedStructure
    space_group: Markup
    space_group_text: str
    probability: str
    volume_ang3_per_atom: float
    density_g_per_cm3: float
    alternative: str
    doubt: str
    facts: tuple[Fact, ...]
    fitness: tuple[Fact, ...]
    scene: dict[str, Any]
    legend: tuple[dict[str, Any], ...]
    downloads: tuple[Download, ...]
    powder: Markup | None
    maps: MapView | None


@dataclass(frozen=True)
class FormulaView:
    """One formula as the page shows it; href leads to its section, from the index page."""

    outcome: FormulaOutcome
    html: Markup
    href: str
    structures: tuple[StructureView, ...]
    energy_volume: Markup | None


def formula_view(
    outcome: FormulaOutcome,
    candidates: Sequence[CandidateSummary],
    ranking_dir: Path,
    href: str,
    run: RunContext,
    maps: FormulaMaps | None = None,
    powder_of: int = 100,
) -> FormulaView:
    """Everything about one formula; `powder_of`: simulate powder patterns of so many structures, best first."""
    return FormulaView(
        outcome=outcome,
        html=formula_html(outcome.formula),
        href=href,
        structures=tuple(
            _structure_view(s, ranking_dir, run, maps, with_powder=s.rank <= powder_of)
            for s in outcome.structures
        ),
        energy_volume=energy_volume_svg(candidates, outcome.formula),
    )


def _structure_view(
    ranked: RankedStructure, ranking_dir: Path, run: RunContext, maps: FormulaMaps | None, with_powder: bool
) -> StructureView:
    cif = (ranking_dir / ranked.cif).read_text(encoding="utf-8")
    structure = CifParser.from_str(cif, frac_tolerance=0.0).parse_structures(
        primitive=False, check_occu=False
    )[0]
    symbol = space_group_symbol(ranked.space_group)
    drawn = scene(structure)
    cell = structure.lattice
    alternative = (
        f"Unit cell of {ranked.formula}, rank {ranked.rank}, space group {symbol}: {len(structure)} atoms, "
        f"a = {cell.a:.2f}, b = {cell.b:.2f}, c = {cell.c:.2f} Å."
    )
    return StructureView(
        key=f"{ranked.formula_id}-{ranked.rank}",
        ranked=ranked,
        space_group=space_group_html(symbol),
        space_group_text=symbol,
        probability=percent(ranked.probability),
        volume_ang3_per_atom=float(cell.volume / len(structure)),
        density_g_per_cm3=float(structure.density),
        alternative=alternative,
        doubt=doubt_of(ranked.relaxed),
        facts=tuple(structure_facts(ranked, structure, run)),
        fitness=tuple(fitness_facts(ranked)),
        scene=drawn,
        legend=tuple(drawn["elements"]),
        downloads=tuple(_downloads(ranked, cif, structure)),
        powder=_powder(ranked, structure) if with_powder else None,
        maps=map_view(ranked, maps) if maps is not None else None,
    )


def _downloads(ranked: RankedStructure, cif: str, structure: Structure) -> list[Download]:
    stem = f"{ranked.formula_id}_{ranked.rank}"
    files = [
        ("CIF", f"{stem}.cif", "chemical/x-cif", cif),
        ("POSCAR", f"{stem}.vasp", "text/plain", Poscar(structure).get_str()),
        ("JSON", f"{stem}.json", "application/json", json.dumps(structure.as_dict(), sort_keys=True)),
    ]
    return [download(text, name, kind, content) for text, name, kind, content in files]


def _powder(ranked: RankedStructure, structure: Structure) -> Markup:
    pattern = XRDCalculator(wavelength="CuKa").get_pattern(structure, two_theta_range=(10, 90))
    title = f"{ranked.formula}, rank {ranked.rank}"
    return powder_svg([float(x) for x in pattern.x], [float(y) for y in pattern.y], title)
