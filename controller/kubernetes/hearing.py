"""Whether the watch hears: whatever the API server is known to have, the watch has to tell as well.

The source says what lists and answers to writes contain, and what the watch tells; a probe asks for how long the watch has owed us something. Invariant: an
API server where nothing changes owes nothing, so silence alone is no sign of deafness.
"""

from collections.abc import Container

from controller.base.clock import Clock


class Hearing:
    """Versions of objects, expected and heard. For one loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, int] = {}
        self._owed: dict[str, tuple[int, float]] = {}  # version, and since when, in order of time

    def heard(self, path: str, version: int) -> None:
        """The watch has told of this version of an object, or of its end."""
        self._heard[path] = max(version, self._heard.get(path, 0))
        owed = self._owed.get(path)
        if owed is not None and owed[0] <= version:
            del self._owed[path]

    def expect(self, path: str, version: int) -> None:
        """The API server has this version; what the watch owes us already it owes us since then."""
        if version > self._heard.get(path, 0) and path not in self._owed:
            self._owed[path] = (version, self._clock.monotonic())

    def keep_only(self, paths: Container[str]) -> None:
        """Forget objects that are gone."""
        for known in (self._heard, self._owed):
            for path in [one for one in known if one not in paths]:
                del known[path]

    def silent(self, since: float) -> float:
        """For how many seconds something has been owed, counting from `since` on at the earliest; 0 when nothing is."""
        if not self._owed:
            return 0.0
        oldest = next(iter(self._owed.values()))[1]
        return max(0.0, self._clock.monotonic() - max(oldest, since))
