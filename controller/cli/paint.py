"""Colours, where a person looks: on a terminal, unless NO_COLOR is set. Nothing else decides about colour."""

import os
from typing import IO

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}


def colourful(stream: IO[str]) -> bool:
    """Whether `stream` shows colours. Source: https://no-color.org, and TERM=dumb as terminals mean it."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, stream: IO[str]) -> str:
    """`text` in a colour when `stream` shows colours, else `text`."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colour and colourful(stream) else text
