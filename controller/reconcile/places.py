"""Where in a file something is that only turned out to be wrong later: found again from the text, because that is rare."""

from controller.kinds import admission, yaml
from controller.kinds.positions import Positions


def place(data: bytes, line: int, pointer: str) -> tuple[int, int, str]:
    """(line, column, pointer) of what `pointer` names in the resource whose first line is `line`.

    The pointer that is given back counts from the document, which matters for the items of a List. Pure; a file that cannot be read gives the
    resource's own line.
    """
    stream = yaml.read(data)
    for document in stream.documents:
        if not document.line <= line:
            continue
        positions = Positions(stream.text, document)
        for base, _ in admission.items(document.value, ""):
            if positions.of(base)[0] == line or (not base and document.line == line):
                found = positions.of(base + pointer)
                return *found, base + pointer
    return line, 1, pointer
