"""Reads and writes every file between stages; the only module that knows their formats.

A record file is JSON lines: a header (kind, schema version, provenance), then one record a line. Files are
written under a temporary name and renamed, so that a reader never meets half a file. Same records, same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import types
import typing
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mapcsp.errors import StoreError
from mapcsp.records import FormulaMaps, PredictedMap

SCHEMA_VERSION = 1
T = TypeVar("T")


# What the machine, not the program, has to answer for.
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, delete it otherwise.

    Raises StoreError if the disk is full or must not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise StoreError(
            f"{path} cannot be written ({error.strerror}); make room or give the right to write, then run snakemake again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)


def shard(identifier: str, n: int = 256) -> str:
    """Two hex digits from a stable hash of an id: the sub-folder that keeps any folder below 10,000 files."""
    return f"{zlib.crc32(identifier.encode()) % n:02x}"


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


def write_records(path: Path, kind: type[T], records: Iterable[T], **provenance: Any) -> None:
    """Write records of one kind; `provenance` (settings hash, seed, …) goes to the header.

    Raises StoreError if a number is not finite.
    """
    header = {"kind": kind.__name__, "schema": SCHEMA_VERSION, **provenance}
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        text = json.dumps(header, sort_keys=True) + "\n"
        handle.write(text)
        checksum = zlib.crc32(text.encode())
        count = 0
        for record in records:
            try:
                text = json.dumps(to_plain(record), sort_keys=True, ensure_ascii=False) + "\n"
            except StoreError as error:
                raise StoreError(f"{path}: {kind.__name__} {count}: {error}") from None
            handle.write(text)
            checksum = zlib.crc32(text.encode(), checksum)
            count += 1
        # So that a truncated or altered file is noticed.
        handle.write(json.dumps({"crc32": f"{checksum:08x}", "end": count}) + "\n")


def read_records(path: Path, kind: type[T]) -> list[T]:
    """Read all records of one kind.

    Raises StoreError, naming the file, if it is missing, of another kind or version, truncated or does not fit.
    """
    lines = _lines(path)
    _header(path, lines, kind.__name__)
    _check_end(path, lines)
    records = []
    for number, line in enumerate(lines[1:-1], start=2):
        try:
            records.append(from_plain(kind, json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{path} line {number}: not a {kind.__name__} ({error}); {rebuild_advice(path)}"
            ) from None
    return records


def _check_end(path: Path, lines: Sequence[str]) -> None:
    """Raise StoreError unless the last line counts the others and has their checksum."""
    try:
        end = json.loads(lines[-1]) if len(lines) > 1 else {}
        complete = end["end"] == len(lines) - 2
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise StoreError(
            f"{path} is truncated (its last line does not count its records); {rebuild_advice(path)}"
        )
    checksum = zlib.crc32("".join(f"{line}\n" for line in lines[:-1]).encode())
    # Files written before there was a checksum are told by their count alone.
    if end.get("crc32", f"{checksum:08x}") != f"{checksum:08x}":
        raise StoreError(f"{path} is corrupt (its checksum does not fit); {rebuild_advice(path)}")


def read_header(path: Path) -> dict[str, Any]:
    """Read the header alone: kind, schema and the provenance given at writing."""
    return _header(path, _lines(path), None)


def read_record(path: Path, kind: type[T]) -> T:
    """Read a file that holds exactly one record."""
    records = read_records(path, kind)
    if len(records) != 1:
        raise StoreError(f"{path} holds {len(records)} records, expected 1; {rebuild_advice(path)}")
    return records[0]


# Stages whose folder is one output: Snakemake does not notice that a file in it is missing.
_FOLDER_STAGES = ("intake", "features", "symmetry", "maps", "plan")


def rebuild_advice(path: Path) -> str:
    """What a user does about a damaged file between stages: the end of an error message."""
    _, _, stage = path.as_posix().rpartition("results/")
    stage = stage.partition("/")[0]
    if stage in _FOLDER_STAGES:
        return f"run snakemake again with `--forcerun {stage}` to rebuild it"
    return "delete it and run snakemake again to rebuild it"


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run snakemake to build it") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path} is not UTF-8 text, so it is corrupt; {rebuild_advice(path)}") from None
    return text.removesuffix("\n").split("\n")


def _header(path: Path, lines: list[str], kind: str | None) -> dict[str, Any]:
    try:
        header = json.loads(lines[0])
        found = header["kind"], header["schema"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path} line 1 is not a record header, so the file is corrupt; {rebuild_advice(path)}"
        ) from None
    if kind is not None and found != (kind, SCHEMA_VERSION):
        raise StoreError(
            f"{path} holds {found[0]} of schema {found[1]}, expected {kind} of {SCHEMA_VERSION}; {rebuild_advice(path)}"
        )
    return header


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, sorted and indented."""
    write_text(path, json.dumps(to_plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document; raises StoreError, naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run snakemake to build it") from None
    except ValueError as error:
        raise StoreError(f"{path} is not JSON ({error}); {rebuild_advice(path)}") from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV; None becomes an empty cell, floats keep ten significant digits.

    Raises StoreError for a number that is not finite and ValueError for a row of another length.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"{path}: a row has {len(row)} cells, expected {len(columns)}")
            plain = [to_plain(value) for value in row]
            writer.writerow(["" if v is None else f"{v:.10g}" if isinstance(v, float) else v for v in plain])
        handle.flush()
        os.fsync(handle.fileno())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV table as one mapping of column to text a row; raises StoreError if it does not exist."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run snakemake to build it") from None


# A tensor of its own, since safetensors writes several metadata keys in an order that changes from process to process.
_CHECKSUM = "crc32"


def write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as parquet; a column's type is that of its values, None stands for a missing one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: [to_plain(row[i]) for row in rows] for i, name in enumerate(columns)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write arrays as safetensors, with a checksum; raises StoreError if one is not finite."""
    from safetensors.numpy import save_file

    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StoreError(f"{path}: tensor {name} holds NaN or infinity; it was not written")
    arrays = {k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())}
    arrays[_CHECKSUM] = _tensor_checksum(arrays, metadata or {})
    with atomic_path(path) as temporary:
        save_file(arrays, str(temporary), metadata)


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and metadata of a safetensors file; raises StoreError, naming the file."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise StoreError(f"{path} does not exist; run snakemake to build it")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            tensors = {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
            metadata = dict(handle.metadata() or {})
    except SafetensorError as error:
        raise StoreError(f"{path} is not a safetensors file ({error}); {rebuild_advice(path)}") from None
    # Weights shipped before there was a checksum have none.
    checksum = tensors.pop(_CHECKSUM, None)
    if checksum is not None and not np.array_equal(checksum, _tensor_checksum(tensors, metadata)):
        raise StoreError(f"{path} is corrupt (its checksum does not fit); {rebuild_advice(path)}")
    return tensors, metadata


def _tensor_checksum(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> np.ndarray:
    checksum = zlib.crc32(repr(sorted(metadata.items())).encode())
    for name, array in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), checksum)
        checksum = zlib.crc32(array.tobytes(), checksum)
    return np.array([checksum], dtype=np.uint32)


_MAP_FIELDS = ("distance_ang", "spread_ang", "contact_prob")


def write_maps(path: Path, maps: FormulaMaps, **provenance: str) -> None:
    """Write the maps of one formula as safetensors, in single precision, maps of equal size stacked.

    Raises StoreError for a map that is no map: wrong shape, not finite, not symmetric, a spread that is not positive.
    """
    stacks: dict[str, list[np.ndarray]] = defaultdict(list)
    entries = []
    for index, predicted in enumerate(maps.maps):
        fault = _map_fault(predicted)
        if fault:
            raise StoreError(f"{path}: map {index} ({predicted.label_key}): {fault}; it was not written")
        n = len(predicted.species)
        place = len(stacks[f"{n}/{_MAP_FIELDS[0]}"])
        for name in _MAP_FIELDS:
            stacks[f"{n}/{name}"].append(getattr(predicted, name).astype(np.float32))
        entry = {
            "z": predicted.z,
            "label": predicted.label_key,
            "species": list(predicted.species),
            "place": place,
        }
        entries.append(entry)
    header = {
        "kind": "FormulaMaps",
        "schema": SCHEMA_VERSION,
        "id": maps.id,
        "model": maps.model,
        "maps": entries,
    }
    tensors = {name: np.stack(arrays) for name, arrays in stacks.items()} or {
        "empty": np.zeros(0, np.float32)
    }
    # One metadata key only: safetensors writes several in an order that changes from process to process.
    write_tensors(path, tensors, {"header": json.dumps({**header, **provenance}, sort_keys=True)})


def read_maps(path: Path) -> FormulaMaps:
    """Read the maps of one formula; raises StoreError, naming the file, if it holds none of this version."""
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata["header"])
        if (header["kind"], header["schema"]) != ("FormulaMaps", SCHEMA_VERSION):
            raise ValueError(f"{header['kind']} of schema {header['schema']}")
        maps = []
        for entry in header["maps"]:
            n = len(entry["species"])
            arrays = (tensors[f"{n}/{name}"][entry["place"]].astype(float) for name in _MAP_FIELDS)
            maps.append(PredictedMap(entry["z"], entry["label"], tuple(entry["species"]), *arrays))
        faults = [fault for predicted in maps if (fault := _map_fault(predicted))]
        if faults:
            raise ValueError(faults[0])
        return FormulaMaps(header["id"], tuple(maps), header["model"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise StoreError(
            f"{path} holds no maps of schema {SCHEMA_VERSION} ({error}); {rebuild_advice(path)}"
        ) from None


def _map_fault(predicted: PredictedMap) -> str | None:
    """What is wrong with a map, in words, or None."""
    n = len(predicted.species)
    other = ~np.eye(n, dtype=bool)
    for name in _MAP_FIELDS:
        array = getattr(predicted, name)
        if array.shape != (n, n):
            return f"{name} has the shape {array.shape}, expected {(n, n)}"
        if not np.isfinite(array).all():
            return f"{name} is not finite"
        if not np.array_equal(array, array.T) or np.diag(array).any():
            return f"{name} is not symmetric with a zero diagonal"
    if (predicted.spread_ang[other] <= 0).any() or (predicted.distance_ang[other] <= 0).any():
        return "a distance or spread is not positive"
    if (predicted.contact_prob < 0).any() or (predicted.contact_prob > 1).any():
        return "a contact probability is outside 0 to 1"
    return None
