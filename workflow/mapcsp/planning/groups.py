"""Deals items into groups of bounded size such that a new item changes its own group alone.

A group is a prefix of the bits of a stable hash, as short as its size allows (a trie). So a group depends on its own
members and never on how long the list is or how it is ordered; a group that grows too large splits in two.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from mapcsp.store import shard


def hash_bits(*parts: str) -> str:
    """32 bits of each part, one after another, as text: items that share the first part stay together."""
    return "".join(f"{zlib.crc32(part.encode()):032b}" for part in parts)


def group_items(items: Sequence[tuple[str, str]], limit: int) -> dict[str, tuple[str, ...]]:
    """Groups of at most `limit` items, by group name; names and members sorted.

    items: (name, bits of its hash), names unique. With `limit` 1 a group is named after its only item. A name starts
    with a sub-folder that keeps any folder below 10,000 files, such as `3f/NaCl-225` or `a0/group-0110`.
    """
    if limit == 1:
        return {f"{shard(name)}/{name}": (name,) for name, _ in sorted(items)}
    groups: dict[str, tuple[str, ...]] = {}
    waiting = [("", list(items))]
    while waiting:
        prefix, members = waiting.pop()
        depth = len(prefix)
        if len(members) > limit and any(len(bits) > depth for _, bits in members):
            for bit in "01":
                waiting.append((prefix + bit, [m for m in members if m[1][depth] == bit]))
        elif members:
            name = f"group-{prefix or 'all'}"
            groups[f"{shard(name)}/{name}"] = tuple(sorted(name for name, _ in members))
    return dict(sorted(groups.items()))
