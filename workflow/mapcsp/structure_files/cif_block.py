"""The data items of a CIF, as text and as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mapcsp.structure_files.record import UnreadableError

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(\d+\))?")


@dataclass(frozen=True, eq=False)
class CifBlock:
    """One data block. columns: the values of each name, one for a single item; names in lower case with `_` for `.`.

    twice: names that have two different values.
    """

    columns: dict[str, list[str]]
    twice: tuple[str, ...] = ()

    @property
    def lists_atoms(self) -> bool:
        """Whether the block has sites, or places for them."""
        return any(name.startswith(("_atom_site_fract_", "_atom_site_cartn_")) for name in self.columns)

    def text(self, *names: str) -> str:
        """The first of these items that has a value; empty if none has (`?` and `.` are none)."""
        values = [v for name in names for v in self.columns.get(name, [])[:1]]
        return next((v.strip() for v in values if v.strip() not in ("", "?", ".")), "")

    def number(self, name: str, what: str) -> float:
        """A number; raises UnreadableError, saying `what` is missing or no number."""
        values = self.columns.get(name)
        if not values:
            raise UnreadableError(f"{what} is missing ({name})")
        return to_number(values[0], what)

    def number_or_none(self, name: str) -> float | None:
        """A number, or None where the file has none; raises UnreadableError for other text."""
        return to_number(self.text(name), name) if self.text(name) else None


def to_number(text: str, what: str) -> float:
    """The number that a CIF writes with its uncertainty in brackets; raises UnreadableError, naming what it is of."""
    text = text.strip()
    if not (found := _NUMBER.fullmatch(text)):
        raise UnreadableError(f"{what} is {text if text in ('?', '.') else repr(text) + ', no number'}")
    return float(found[1])


def read_blocks(text: str) -> list[CifBlock]:
    """The data blocks of a CIF; raises UnreadableError, with the line, for what is not CIF."""
    import gemmi

    try:
        # Level 0: two blocks may have one name, as in files that were joined.
        document = gemmi.cif.read_string(text, 0)
    except (ValueError, RuntimeError) as error:
        raise UnreadableError(f"not CIF ({str(error).removeprefix('string:')})") from None
    return [_block(block) for block in document]


def _block(block) -> CifBlock:  # type: ignore[no-untyped-def]
    import gemmi

    columns: dict[str, list[str]] = {}
    twice = []
    for item in block:
        if item.pair is not None:
            found = {item.pair[0]: [item.pair[1]]}
        elif item.loop is not None:
            width = item.loop.width()
            found = {tag: list(item.loop.values[i::width]) for i, tag in enumerate(item.loop.tags)}
        else:
            continue  # a comment, or a frame of a dictionary
        for tag, values in found.items():
            # Dictionaries of the newer kind (magnetic CIF among them) write a dot for the category's underscore.
            name = tag.lower().replace(".", "_")
            plain = [v if v in ("?", ".") else gemmi.cif.as_string(v) for v in values]
            if columns.setdefault(name, plain) != plain:
                twice.append(tag)
    return CifBlock(columns, tuple(twice))
