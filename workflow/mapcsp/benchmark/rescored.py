"""Second energies for the pools of one chunk, and what they cost."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from tqdm import tqdm

from mapcsp.benchmark.records import RescoreCost
from mapcsp.errors import UserError
from mapcsp.provenance import versions
from mapcsp.records import RelaxedPool
from mapcsp.relax.rescore import load_energy_model, rescore_pool
from mapcsp.settings import RescoreSettings, read_section
from mapcsp.store import read_header, read_records, write_records


def run_rescored(pools_file: Path, settings_file: Path, output: Path, cost_file: Path, device: str) -> None:
    """Rescore relaxed pools as the stage does, timing each; raises UserError without a second potential."""
    torch.set_num_threads(1)
    settings = read_section(settings_file, RescoreSettings)
    name = settings.second_potential()
    if name is None:
        raise UserError("rescore.potential gives no second potential; leave the benchmark's rescoring out")
    model = load_energy_model(name, device)
    pools, costs = [], []
    for pool in tqdm(read_records(pools_file, RelaxedPool), desc="rescore", mininterval=5):
        energies: list[int] = []
        core, wall = time.process_time(), time.perf_counter()
        pools.append(rescore_pool(pool, settings.candidates, model, energies.append))
        core, wall = time.process_time() - core, time.perf_counter() - wall
        costs.append(RescoreCost(pool.formula_id, core, wall, len(energies)))
    write_records(output, RelaxedPool, pools, versions=versions(headers=[read_header(pools_file)]))
    write_records(cost_file, RescoreCost, costs)
