"""The generated JSON Schemas at run time: from the installed package, or from the checkout that the package is run in."""

import json
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent


def folder() -> Path:
    """Where `*.schema.json` are: inside the wheel beside this module, in a checkout or editable install at the top of the repository."""
    packaged = _HERE / "schemas"
    return packaged if packaged.is_dir() else _HERE.parent.parent / "schemas"


@cache
def load(name: str) -> dict[str, Any]:
    """One schema by file name; treat it as immutable. Errors: OSError when the installation is broken."""
    schema: dict[str, Any] = json.loads((folder() / name).read_bytes())
    return schema
