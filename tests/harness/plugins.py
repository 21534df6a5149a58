"""Distributions with a plug-in, as an administrator would install them: a module and its entry points in a folder that Python looks at."""

import os
from pathlib import Path
from textwrap import dedent

from tests.harness.warden import ROOT, Warden

PROVIDERS = "jobwarden.identity_providers"
DECISION_POINTS = "jobwarden.authorization_providers"
VERIFIERS = "jobwarden.proof_verifiers"


def install(warden: Warden, name: str, source: str, *, target: str | None = None, group: str = PROVIDERS) -> Path:
    """Install the module `name` with an entry point of its name (`target`: what that names, by default `name:Provider`); the module's own folder.

    Takes a controller that is a process of its own: set JOBWARDEN_TEST_EXEC.
    """
    assert os.environ.get("JOBWARDEN_TEST_EXEC"), "a forked controller does not look at PYTHONPATH"
    site = warden.folder / f"site-{name}"
    package, info = site / name, site / f"{name}-1.0.dist-info"
    for folder in (package, info):
        folder.mkdir(parents=True, mode=0o755)
    (package / "__init__.py").write_text(dedent(source), encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    point = target or f"{name}:Provider"
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {point}\n", encoding="utf-8")
    known = warden.environment.get("PYTHONPATH", str(ROOT))
    warden.environment["PYTHONPATH"] = os.pathsep.join([known, str(site)])
    return package
