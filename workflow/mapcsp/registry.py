"""The trained models that ship, by name: the only reader of `resources/models/registry.yaml`.

Free of heavy imports, since the Snakefile reads it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mapcsp.errors import UserError
from mapcsp.resources import resource_path

REGISTRY = "models/registry.yaml"
# What asks for a model, settings and code with one of its own, and the stages of the registry that can serve it.
STAGES_OF = {
    "symmetry.model": ("symmetry", "cryspnet"),
    "maps.model": ("maps",),
    "relax.prerelax": ("deeprelax",),
    "cryspnet": ("cryspnet",),
    "mlatticeabc": ("mlatticeabc",),
    "ranker": ("ranker",),
}


@dataclass(frozen=True)
class RegisteredModel:
    """One trained model.

    stage: which code runs it. folder: of its files. memory_folder: of the label memory that it enumerates by, its own
    folder unless the registry names another model's; None for a model without one.
    """

    name: str
    stage: str
    folder: Path
    memory_folder: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that decide its output, not its card, metrics and curves; raises UserError where there are none."""
        own = sorted(self.folder.glob("*.safetensors")) or sorted(self.folder.glob("coefficients.json"))
        if not own:
            raise UserError(
                f"model {self.name} has no weights in {self.folder}; restore them with `git checkout resources`"
            )
        borrowed = [] if self.memory_folder in (None, self.folder) else [self.memory_file]
        return (*own, *borrowed)

    @property
    def memory_file(self) -> Path:
        """Its label memory; raises UserError for a model without one."""
        if self.memory_folder is None:
            raise UserError(f"model {self.name} has no label memory; name a model of symmetry")
        return self.memory_folder / "memory.safetensors"


def registered_model(name: str, asked_by: str) -> RegisteredModel:
    """The model of a name, for a purpose.

    asked_by: a key of STAGES_OF, such as the setting `symmetry.model`. Raises UserError for a name that the registry lacks
    or lists for another purpose.
    """
    models = registered_models()
    known = sorted(n for n, model in models.items() if model.stage in STAGES_OF[asked_by])
    if name not in known:
        raise UserError(
            f"{asked_by}: {name!r} is not one of its models; choose one of {', '.join(known)} "
            f"(resources/{REGISTRY})"
        )
    return models[name]


def registered_models() -> dict[str, RegisteredModel]:
    """All models of the registry by name; raises UserError if the registry is missing or not well-formed."""
    path = resource_path(REGISTRY)
    entries: dict[str, dict[str, str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return {name: _model(path.parent, name, entries) for name in entries}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: an entry needs `stage` and `folder`, and its `memory` is another entry's name ({error!r}); correct it"
        ) from None


def _model(models: Path, name: str, entries: Mapping[str, Any]) -> RegisteredModel:
    entry = entries[name]
    owner = entry.get("memory", name if entry["stage"] == "symmetry" else None)
    memory = None if owner is None else models / entries[owner]["folder"]
    return RegisteredModel(name, entry["stage"], models / entry["folder"], memory)
