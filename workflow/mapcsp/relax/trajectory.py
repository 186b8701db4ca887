"""Relaxations step by step, as extended XYZ, which ASE, OVITO and VMD read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mapcsp.relax.fire import Frame
from mapcsp.store import write_text


def write_trajectory(path: Path, species: Sequence[str], frames: Sequence[Frame]) -> None:
    """Write the frames of one structure; frames that the potential failed on (NaN) are left out."""
    whole = [f for f in frames if np.isfinite(f.energy_ev) and np.isfinite(f.forces_ev_per_ang).all()]
    write_text(path, "".join(_block(species, frame) for frame in whole))


def _block(species: Sequence[str], frame: Frame) -> str:
    lattice = " ".join(f"{x:.8f}" for x in frame.lattice_ang.flatten())
    rows = np.hstack([frame.positions_ang, frame.forces_ev_per_ang])
    atoms = (
        f"{symbol:2s} {' '.join(f'{x:14.8f}' for x in row)}"
        for symbol, row in zip(species, rows, strict=True)
    )
    comment = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 energy={frame.energy_ev:.8f} pbc="T T T"'
    return "\n".join([str(len(species)), comment, *atoms]) + "\n"
