"""Records as plain values: what JSON can hold, and back again by their annotations."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import numpy as np

from mapcsp.errors import StoreError


def to_plain(value: Any) -> Any:
    """Turn a record (dataclasses, tuples, arrays) into JSON types.

    Raises StoreError for a number that is not finite: NaN never reaches a file.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise StoreError(f"an array of shape {value.shape} holds NaN or infinity; it was not written")
        return value.tolist()
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        raise StoreError(f"the number {value} is not finite; it was not written")
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    return value


def from_plain(kind: Any, value: Any) -> Any:
    """Inverse of `to_plain` for the annotated type `kind`; raises TypeError or ValueError on a misfit."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = (a for a in typing.get_args(kind) if a is not types.NoneType)
        return from_plain(inner, value)
    if origin is tuple:
        arguments = typing.get_args(kind)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(from_plain(arguments[0], v) for v in value)
        if len(arguments) != len(value):
            raise ValueError(f"expected {len(arguments)} entries, got {len(value)}")
        return tuple(from_plain(a, v) for a, v in zip(arguments, value))
    if kind is np.ndarray:
        return np.asarray(value)
    if dataclasses.is_dataclass(kind):
        hints = _hints(typing.cast(type, kind))
        if not isinstance(value, dict) or set(value) != set(hints):
            names = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"{typing.cast(type, kind).__name__} needs {sorted(hints)}, got {names}")
        return typing.cast(type, kind)(**{n: from_plain(h, value[n]) for n, h in hints.items()})
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _HINTS:
        hints = typing.get_type_hints(kind)
        _HINTS[kind] = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    return _HINTS[kind]
