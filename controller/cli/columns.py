"""Aligned columns, as kubectl prints them: three spaces between, no lines, nothing after the last cell."""

from collections.abc import Sequence

_GAP = "   "


def align(columns: Sequence[str], rows: Sequence[Sequence[str]], widths: list[int] | None = None) -> list[str]:
    """Lines of text, the heading first.

    `widths`, when given, is widened in place, so that rows printed later stay below their heading. Pure otherwise.
    """
    table = [columns, *rows] if columns else list(rows)
    if not table:
        return []
    known = widths if widths is not None else []
    known += [0] * (len(table[0]) - len(known))
    for index, column in enumerate(zip(*table, strict=True)):
        known[index] = max(known[index], *map(len, column))
    last = len(table[0]) - 1
    form = _GAP.join(f"%-{width}s" if index < last else "%s" for index, width in enumerate(known))
    return [_clean(form % tuple(row)) for row in table]


def _clean(line: str) -> str:
    """Without control characters, which a name or a message from elsewhere may hold."""
    return line if line.isprintable() else "".join(one if one.isprintable() else " " for one in line)
