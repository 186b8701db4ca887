"""Files inside the page: offered as links that hold their content."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file inside the page: its button, its name and its content as a data URI."""

    text: str
    file_name: str
    uri: str


def download(text: str, file_name: str, kind: str, content: str | bytes) -> Download:
    """A file with this text or these bytes, of a media type such as `text/csv`."""
    raw = content.encode() if isinstance(content, str) else content
    encoded = base64.b64encode(raw).decode()
    return Download(text, file_name, f"data:{kind};base64,{encoded}")
