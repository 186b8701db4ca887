"""mapcsp predicts crystal structures from formulas alone; `mapcsp.api` is for Python and notebooks."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # On first use, since it loads pandas and pymatgen.
    if name == "api":
        import importlib

        return importlib.import_module("mapcsp.api")
    raise AttributeError(f"module 'mapcsp' has no attribute {name!r}")
