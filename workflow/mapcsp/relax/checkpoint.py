"""Reads a TensorFlow V2 checkpoint (a "tensor bundle") with numpy alone, so that no TensorFlow is needed.

A bundle is two files: `<prefix>.index`, a LevelDB-style sorted table whose values are protocol buffers that say
where each tensor lies, and `<prefix>.data-00000-of-00001`, the raw little-endian bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mapcsp.errors import StoreError

_TABLE_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_NUMPY_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
_CASTAGNOLI = 0x82F63B78
_CRC_MASK_DELTA = 0xA282EAD8


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Read every numeric tensor of a checkpoint, each checked against its CRC-32C.

    prefix: path without `.index`. Returns arrays by variable name; entries of other types (text) are left out.
    Raises StoreError, naming the file, if it is missing, truncated or corrupt.
    """
    index_path, data_path = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    try:
        index, data = index_path.read_bytes(), data_path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"{error.filename} does not exist; a checkpoint has an index and a data file"
        ) from None
    try:
        return {name: array for name, array in _tensors(index, data) if array is not None}
    except (IndexError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise StoreError(f"{prefix} is not a readable TensorFlow checkpoint: {error}") from None


def _tensors(index: bytes, data: bytes) -> Iterator[tuple[str, np.ndarray | None]]:
    for key, value in _table(index):
        if key:  # the empty key is the bundle's own header
            yield key.decode(), _tensor(key.decode(), value, data)


def _tensor(name: str, entry: bytes, data: bytes) -> np.ndarray | None:
    """Decode a BundleEntryProto: dtype (1), shape (2), offset (4), size (5), masked CRC (6)."""
    fields = dict(_fields(entry))
    dtype = _NUMPY_TYPES.get(_integer(fields.get(1, 0)))
    if dtype is None:
        return None
    shape = [
        _integer(dict(_fields(_text(dim))).get(1, 0))
        for tag, dim in _fields(_text(fields.get(2, b"")))
        if tag == 2
    ]
    offset, size = _integer(fields.get(4, 0)), _integer(fields.get(5, 0))
    raw = data[offset : offset + size]
    if len(raw) != size:
        raise ValueError(f"the data file ends inside tensor {name}")
    if struct.pack("<I", _masked_crc32c(raw)) != _text(fields.get(6, b"")):
        raise ValueError(f"tensor {name} does not fit its checksum")
    return np.frombuffer(raw, dtype).reshape(shape)


def _table(buffer: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk a sorted table: footer, then the index block, then the data blocks it points to."""
    footer = buffer[-_FOOTER_BYTES:]
    if footer[-8:] != struct.pack("<Q", _TABLE_MAGIC):
        raise ValueError("the index file does not end with a table footer")
    _, position = _varint(footer, 0)  # the handle of the unused meta-index block
    _, position = _varint(footer, position)
    offset, position = _varint(footer, position)
    size, _ = _varint(footer, position)
    for _, handle in _block(buffer, offset, size):
        start, position = _varint(handle, 0)
        length, _ = _varint(handle, position)
        yield from _block(buffer, start, length)


def _block(buffer: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Walk one block of prefix-compressed keys and their values."""
    if buffer[offset + size] != 0:
        raise ValueError("the index file holds a compressed block")
    block = buffer[offset : offset + size]
    (n_restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * n_restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk the (tag, value) pairs of a protocol buffer message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a message field of wire type {kind}")
        yield key >> 3, message[position : position + length]
        position += length


def _varint(buffer: bytes, position: int) -> tuple[int, int]:
    """Decode a base-128 integer at `position`; returns it and the position after it."""
    value = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a message field should be an integer")
    return value


def _text(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a message field should be bytes")
    return value


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc32c(data: bytes) -> int:
    """CRC-32C, rotated and shifted as the bundle format stores it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _CRC_MASK_DELTA) & 0xFFFFFFFF
