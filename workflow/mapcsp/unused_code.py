"""Modules that a stage imports for other settings than a run's: an edit of them changes nothing in that run.

Free of heavy imports, since the Snakefile reads it too.
"""

from __future__ import annotations

from mapcsp.registry import registered_model
from mapcsp.settings import RelaxSettings, SymmetrySettings

MODULE_OF_POTENTIAL = {
    "m3gnet": "relax/m3gnet",
    "chgnet": "relax/chgnet",
    "sevennet-0": "relax/ase_calculators",
    "sevennet-l3i5": "relax/ase_calculators",
    "matgl": "relax/matgl",
    "ase": "relax/ase_calculators",
}
"""By the name in the settings, up to a colon: what `relax.backends.load_potential` imports for it."""


def other_potentials(name: str) -> frozenset[str]:
    """Modules of the potentials that are not `name`, a value of `relax.potential`, and what converts fetched weights.

    Weights count by their own hash.
    """
    chosen = MODULE_OF_POTENTIAL.get(name.partition(":")[0])
    return frozenset({"relax/checkpoint", *MODULE_OF_POTENTIAL.values()} - {chosen})


def unused_by_relax(settings: RelaxSettings) -> frozenset[str]:
    """Modules that a relaxation by these settings never runs."""
    methods = frozenset() if settings.method == "bayesian" else frozenset({"relax/bayesian"})
    return other_potentials(settings.potential) | methods


def unused_by_symmetry(settings: SymmetrySettings) -> frozenset[str]:
    """Modules that a prediction of symmetry by these settings never runs."""
    stage = registered_model(settings.model, "symmetry.model").stage
    return frozenset() if stage == "cryspnet" else frozenset({"cryspnet/stage"})
