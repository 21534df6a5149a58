"""A wall clock that one process sees and a test moves, through libfaketime. The machine's own clock is never touched.

Only processes started with `Clock.environment()` see it; monotonic time stays real, as it does when somebody sets the clock of a machine.
"""

import os
from datetime import timedelta
from pathlib import Path

WHERE = (
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
    "/usr/local/lib/faketime",
)
HOW_TO_GET_IT = (
    "libfaketime is not installed: `apt-get install faketime`, or name the library in JOBWARDEN_TEST_LIBFAKETIME"
)


def find_libfaketime() -> Path | None:
    """The multi-threaded libfaketime of this machine, or None. Source: JOBWARDEN_TEST_LIBFAKETIME first, then where distributions put it."""
    named = os.environ.get("JOBWARDEN_TEST_LIBFAKETIME")
    candidates = [Path(named)] if named else [Path(folder) / "libfaketimeMT.so.1" for folder in WHERE]
    return next((path for path in candidates if path.is_file()), None)


class Clock:
    """The wall clock of the processes that are given `environment()`: real time plus an offset, which may change while they run."""

    def __init__(self, library: Path, file: Path) -> None:
        self._library, self._file = library, file
        self.step_to(timedelta(0))

    def step_to(self, offset: timedelta) -> None:
        """Set the difference to real time; seen at the next look at the clock."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(f"{offset.total_seconds():+.0f}s\n")
        temporary.replace(self._file)

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to see this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
