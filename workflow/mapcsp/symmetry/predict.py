"""The symmetry stage: one SymmetryPrediction a formula."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from mapcsp.records import FormulaEntry, SymmetryPrediction
from mapcsp.resources import resource_path
from mapcsp.settings import SymmetrySettings, read_section
from mapcsp.store import read_json, read_record, shard, write_records
from mapcsp.symmetry.model import load_model, predict_symmetry


def run_symmetry(intake_dir: Path, settings_file: Path, output_dir: Path) -> None:
    """Predict every formula of the intake; writes output_dir/<shard>/<id>.jsonl.

    Raises UserError if the model is missing, StoreError for an intake file that cannot be read.
    """
    # One thread: sums in another order would change last digits, and results must not depend on the cores.
    torch.set_num_threads(1)
    settings = read_section(settings_file, SymmetrySettings)
    model = load_model(resource_path(f"models/{settings.model}"))
    for identifier in tqdm(read_json(intake_dir / "index.json")["ids"], desc="symmetry", mininterval=5):
        place = Path(shard(identifier)) / f"{identifier}.jsonl"
        entry = read_record(intake_dir / "entries" / place, FormulaEntry)
        write_records(output_dir / place, SymmetryPrediction, [predict_symmetry(entry, settings, model)])
