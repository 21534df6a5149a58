"""Replaces registered secret values in text, wherever the text came from.

Whoever resolves a secret registers it for as long as it is in memory; the log formatter and everything that stores an error message mask
their text. This is the second line of defence: the first is that no message is made from a secret.

Invariant: a masked text contains no registered value, neither as it is nor in the encodings that libraries put into messages.
"""

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from controller.base import encodings

MASK = "***"


class Masker:
    """A thread-safe registry of secret values. A value that is registered twice stays until it is forgotten twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[str] = Counter()
        self._pattern: re.Pattern[str] | None = None

    def add(self, *values: str) -> None:
        """Mask these values from now on. Values under four characters are not masked."""
        with self._lock:
            self._values.update(value for value in values if len(value) >= encodings.SHORTEST)
            self._pattern = _pattern(self._values)

    def forget(self, *values: str) -> None:
        """Undo one `add` of these values."""
        with self._lock:
            self._values.subtract(value for value in values if len(value) >= encodings.SHORTEST)
            self._values = +self._values
            self._pattern = _pattern(self._values)

    @contextlib.contextmanager
    def masking(self, *values: str) -> Iterator[None]:
        """Mask these values while the block runs."""
        self.add(*values)
        try:
            yield
        finally:
            self.forget(*values)

    def mask(self, text: str) -> str:
        """The text with every registered value replaced. Costs one comparison when nothing is registered."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MASK, text)


SECRETS = Masker()
"""The process's own registry: what the log formatter masks."""


def _pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    forms = {form for value in values for form in _forms(value)}
    if not forms:
        return None
    # The longest first, so that a value that contains another is replaced whole.
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))))


def _forms(value: str) -> set[str]:
    """The value, and each longer line of it, as programs write them. Pure."""
    data = value.encode("utf-8", "surrogatepass")
    found = encodings.forms(data) | encodings.line_forms(data)
    return {form.decode("utf-8", "surrogatepass") for form in found} | {value}
