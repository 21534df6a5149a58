"""The real command, whose runs are given credentials by hand: `python giving.py FILE ARGUMENTS…`, FILE being JSON records of `Given`."""

import sys
from functools import partialmethod
from pathlib import Path

import msgspec

from controller.dispatch.launch import Launcher
from controller.executors.credentials import Given

if __name__ == "__main__":
    given = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=tuple[Given, ...])
    Launcher.prepare = partialmethod(Launcher.prepare, given=given)  # type: ignore[assignment]
    from controller.cli.main import main

    sys.argv = ["jobwarden", *sys.argv[2:]]
    sys.exit(main())
