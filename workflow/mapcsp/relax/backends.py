"""Chooses a potential by its name in the settings; only the chosen one's libraries are imported."""

from __future__ import annotations

from pathlib import Path

from mapcsp.devices import choose_device
from mapcsp.errors import UserError
from mapcsp.relax.potential import Potential

NAMES = (
    "m3gnet",
    "chgnet",
    "sevennet-0",
    "sevennet-l3i5",
    "matgl:<model or folder>",
    "ase:<module>:<callable>",
)


def load_potential(name: str, device: str = "auto", weights: Path | None = None) -> Potential:
    """Load a potential.

    name: as in `settings.relax.potential`. device: `auto`, `cpu` or `cuda`. weights: m3gnet's, default its own place.
    Raises UserError for an unknown name, a missing package, missing weights, or a device that is not there.
    """
    where = choose_device(device)
    if name == "m3gnet":
        from mapcsp.relax.m3gnet import M3GNet

        return M3GNet(weights, where)
    if name == "chgnet":
        from mapcsp.relax.chgnet import CHGNetPotential

        return CHGNetPotential(where)
    if name in ("sevennet-0", "sevennet-l3i5"):
        from mapcsp.relax.ase_calculators import load_sevennet

        return load_sevennet(name, where)
    if name.startswith("matgl:"):
        from mapcsp.relax.matgl import load_matgl

        return load_matgl(name.removeprefix("matgl:"), where)
    if name.startswith("ase:"):
        from mapcsp.relax.ase_calculators import load_ase

        return load_ase(name.removeprefix("ase:"))
    raise UserError(f"relax.potential: {name!r} is not a potential; choose one of {', '.join(NAMES)}")
