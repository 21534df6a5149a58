"""What a process printed: the tail of a stream, and text that can be stored and shown.

`local` feeds a `Tail` per stream; whoever stores or shows a result calls `text`.
Invariant: a tail never holds more than twice what it was asked to keep (or one piece, where that is larger), in however small pieces a stream comes.
"""


class Tail:
    """The last `keep` bytes of a stream, and how many there were in all."""

    __slots__ = ("_data", "keep", "total")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.total = 0
        self._data: bytes | bytearray = b""

    def add(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(data)
        if len(data) >= self.keep:
            self._data = data  # no copy: in a flood every piece is at once pushed out by the next
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += data
        if len(self._data) > 2 * self.keep:
            del self._data[: -self.keep]

    @property
    def data(self) -> bytes:
        """At most `keep` bytes, the newest, as printed."""
        if len(self._data) <= self.keep:
            return bytes(self._data)
        return bytes(self._data[len(self._data) - self.keep :])

    @property
    def truncated(self) -> bool:
        """Whether there was more."""
        return self.total > self.keep


def text(data: bytes, *, total: int | None = None) -> str:
    """The tail of a stream as text that any database and any JSON can hold. Pure.

    Shape:  exactly what was printed, except that bytes which are not UTF-8, and NUL, become U+FFFD. If `total`, the length of the whole
            stream, is larger than the tail, a first line says how many bytes are missing; a character that the cut went through is left out whole.
    """
    dropped = 0 if total is None else total - len(data)
    if dropped <= 0:
        return _decode(data)
    cut = _first_whole_character(data)
    return f"[{dropped + cut} earlier bytes are not shown]\n{_decode(data[cut:])}"


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _first_whole_character(data: bytes) -> int:
    """Index of the first byte that can begin a character; a character continues for at most three bytes (RFC 3629)."""
    for index, byte in enumerate(data[:3]):
        if byte & 0b1100_0000 != 0b1000_0000:
            return index
    return min(3, len(data))
