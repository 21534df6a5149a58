"""PROVIDERS.md says what is so: its plug-ins are such, pass the suites that it shows, and its configurations are taken."""

import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from controller.base.clock import SystemClock
from controller.providers.protocol import Downscoping, Revoking
from controller.providers.registry import BUILT_IN, PROVIDERS, Built, Registry
from controller.providers.surroundings import Surroundings
from tests.harness.warden import ROOT

PAGE = (ROOT / "PROVIDERS.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


SHOWN = types.ModuleType("shown")
BLOCKS = ("provider", "conformance", "decision", "decision conformance", "verifier", "verifier conformance")
exec(compile("".join(block(name) for name in BLOCKS), "PROVIDERS.md", "exec"), SHOWN.__dict__)


class TestTheShownProvider(SHOWN.TestAcme):  # type: ignore[misc, name-defined]
    """As a reader would run it."""


class TestTheShownDecisionPoint(SHOWN.TestFreeze):  # type: ignore[misc, name-defined]
    """As a reader would run it."""


class TestTheShownVerifier(SHOWN.TestReceipts):  # type: ignore[misc, name-defined]
    """As a reader would run it."""


def configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    for document in yaml.safe_load_all(text[1]):
        yield from document.items()


def built(kind: str, config: dict[str, Any]) -> Built:
    made = Registry(PROVIDERS, []).build(
        kind, config, Surroundings("CredentialProvider team/x", "team", clock=SystemClock())
    )
    assert isinstance(made, Built), made
    return made


@pytest.mark.parametrize(("kind", "config"), list(configurations()))
def test_every_configuration_that_is_shown_makes_a_provider(kind: str, config: dict[str, Any]) -> None:
    """Field by field."""
    built(kind, config)


def test_the_table_has_every_type_and_says_what_it_can() -> None:
    """Whether it can make less, and take back."""
    rows = {
        cells[1].strip("` "): cells
        for cells in (line.split("|") for line in PAGE.splitlines() if line.startswith("| `"))
    }
    shown = dict(configurations())
    assert set(rows) == set(BUILT_IN) == set(shown)
    for kind, cells in rows.items():
        provider = built(kind, shown[kind]).made
        assert cells[5].strip() == ("yes" if isinstance(provider, Downscoping) else "no")
        assert ("revoked" in cells[6]) == isinstance(provider, Revoking)
