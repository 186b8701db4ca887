"""Draws the sample of known crystals that a benchmark predicts, and cuts it into chunks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mapcsp.benchmark.records import KnownTarget
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import UserError
from mapcsp.records import FormulaEntry
from mapcsp.registry import registered_model
from mapcsp.settings import BenchmarkSettings, SymmetrySettings, read_section
from mapcsp.store import read_json, write_json, write_records
from mapcsp.symmetry.memory import read_memory
from mapcsp.training.encoded import EncodedKnown, encode_known, write_encoded
from mapcsp.training.geometries import formula_hash
from mapcsp.training.symmetry.evaluate import entry_of
from mapcsp.training.tables import KnownCrystal, read_structures

# A polymorph may have any size.
ANY_SIZE = 10_000
MAX_TEMPLATE_ATOMS = 24
ON_HULL_EV_PER_ATOM = 1e-3


def draw_targets(
    known: Sequence[KnownCrystal], settings: BenchmarkSettings, trained: frozenset[int]
) -> tuple[list[KnownTarget], list[tuple[str, str]]]:
    """Draw `settings.count` crystals of at most `settings.max_atoms` atoms.

    trained: hashes of the formulas that the symmetry model was trained on. A larger count adds crystals after those of a
    smaller one. Returns the targets and (material id, reason) of drawn crystals that were passed over.
    """
    eligible = [
        row
        for row in known
        if row.crystal.n_atoms <= settings.max_atoms and set(row.crystal.species) <= SUPPORTED_ELEMENTS
    ]
    by_formula: dict[str, list[KnownCrystal]] = defaultdict(list)
    for row in known:
        by_formula[row.formula].append(row)
    targets: list[KnownTarget] = []
    passed_over: list[tuple[str, str]] = []
    for index in np.random.default_rng(settings.seed).permutation(len(eligible)):
        if len(targets) == settings.count:
            break
        row = eligible[index]
        encoded, failed = encode_known([row])
        passed_over += failed
        if not encoded:
            continue
        energy = row.energy_above_hull_ev_per_atom
        targets.append(
            KnownTarget(
                len(targets),
                told_entry(encoded[0], settings),
                row.crystal,
                tuple(other.crystal for other in by_formula[row.formula] if other is not row),
                encoded[0].label_key,
                encoded[0].z,
                None if energy is None else energy < ON_HULL_EV_PER_ATOM,
                formula_hash(row.formula) in trained,
            )
        )
    return targets, passed_over


def told_entry(row: EncodedKnown, settings: BenchmarkSettings) -> FormulaEntry:
    """The formula of a known crystal with what `settings.knows` lets the predictor know."""
    atoms = row.n_atoms // row.z
    zs = (
        tuple(range(1, max(settings.max_atoms // atoms, row.z) + 1))
        if settings.knows == "formula"
        else (row.z,)
    )
    entry = entry_of(row, zs)
    group = row.anonymous.space_group if settings.knows == "formula_z_space_group" else None
    return replace(entry, z_given=settings.knows != "formula", space_group=group)


def run_sample(table: Path, settings_folder: Path, output: Path) -> None:
    """Draw the sample of a structure table and write it in chunks.

    settings_folder: frozen sections, of which `benchmark` and `symmetry` are read. Writes output/targets/<chunk>.jsonl and
    output/sample.json (chunks with the number of their first crystal, and what was passed over).
    Raises UserError if the table holds no crystal that can be drawn.
    """
    settings = read_section(settings_folder / "benchmark.json", BenchmarkSettings)
    symmetry = read_section(settings_folder / "symmetry.json", SymmetrySettings)
    memory = read_memory(registered_model(symmetry.model, "symmetry.model").memory_file)
    known = read_structures([table], ANY_SIZE)
    targets, passed_over = draw_targets(known, settings, frozenset(memory.example_formula.tolist()))
    if not targets:
        raise UserError(
            f"{table}: no crystal of at most {settings.max_atoms} atoms could be drawn; raise benchmark.max_atoms"
        )
    size = settings.crystals_per_job
    chunks = {f"{first // size:04d}": first for first in range(0, len(targets), size)}
    for chunk, first in chunks.items():
        write_records(output / "targets" / f"{chunk}.jsonl", KnownTarget, targets[first : first + size])
    write_json(
        output / "sample.json",
        {
            "chunks": chunks,
            "crystals": len(targets),
            "eligible": sum(
                r.crystal.n_atoms <= settings.max_atoms and set(r.crystal.species) <= SUPPORTED_ELEMENTS
                for r in known
            ),
            "passed_over": [list(p) for p in passed_over],
            "table": table.name,
        },
    )


def chunks_of(sample_file: Path, count: int | None) -> list[str]:
    """Chunks that hold the first `count` crystals of a sample, or all."""
    chunks: dict[str, int] = read_json(sample_file)["chunks"]
    return [chunk for chunk, first in chunks.items() if count is None or first < count]


def run_templates(table: Path, output: Path) -> None:
    """Encode a structure table for the variant `template`; crystals in which no symmetry is found are left out."""
    encoded, _ = encode_known(read_structures([table], MAX_TEMPLATE_ATOMS))
    write_encoded(output, encoded)
