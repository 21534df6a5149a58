"""Looks for secret values in whatever rests somewhere or is shown.

Invariant: every form that a program is likely to give a value is looked for, also with lines broken within it; and each test has values of its own, so
that nothing that others leave can be found.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from controller.base import encodings
from controller.executors import private_files


class Canaries:
    """The values that nobody should see."""

    def __init__(self, *values: bytes) -> None:
        wanted = {form for value in values for form in encodings.forms(value) | encodings.line_forms(value)}
        self._wanted = {form.translate(None, b"\r\n") for form in wanted}

    def found_in(self, data: bytes) -> list[bytes]:
        """What of a value is there."""
        joined = data.replace(b"\n", b"").replace(b"\r", b"")
        return [form for form in self._wanted if form in joined]

    def found_below(self, folders: Iterable[Path]) -> dict[Path, list[bytes]]:
        """The files that hold one. Errors: AssertionError where there is not a single file to look at."""
        searched, found = 0, {}
        for path in (one for folder in folders for one in folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    searched += 1
                    if forms := self.found_in(path.read_bytes()):
                        found[path] = forms
        assert searched, "there is nothing to look at"
        return found

    def in_titles(self, pids: Iterable[int]) -> dict[int, list[bytes]]:
        """Those of these processes whose command line or name, which every user sees, shows one."""
        found = {}
        for pid in pids:
            for about in ("cmdline", "comm"):
                with contextlib.suppress(OSError):
                    if forms := self.found_in(Path(f"/proc/{pid}/{about}").read_bytes()):
                        found[pid] = forms
        return found

    def left_in_memory(self, environment: Mapping[str, str]) -> list[Path]:
        """Files in the private folders of this user that hold one."""
        return [path for path in _private(environment) if path.is_file() and self._holds(path)]

    def _holds(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.found_in(path.read_bytes()))
        return False


def folders_left(environment: Mapping[str, str], log: bytes) -> list[Path]:
    """Folders that controllers which wrote this log have left in memory, for themselves or their runs."""
    owners = {one.decode() for one in re.findall(rb"instance=\"?([0-9a-f]{16})", log)}
    assert owners, "no controller tells its name"
    return [path for path in _private(environment) if owners & set(path.parts)]


def _private(environment: Mapping[str, str]) -> list[Path]:
    """Everything in the private folders of this user, of all controllers."""
    roots = [place / f"jobwarden-credentials-{os.geteuid()}" for place in private_files.places(environment)]
    return [path for root in roots for path in root.rglob("*")]
