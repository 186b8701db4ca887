"""Where networks run: the setting `relax.device`, which every stage that uses a potential reads in the same way."""

from __future__ import annotations

from mapcsp.errors import UserError


def choose_device(device: str) -> str:
    """Turn `auto` into `cuda` or `cpu`; raises UserError if CUDA is asked for and there is none."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("relax.device is `cuda`, but torch finds none; set it to auto or cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
