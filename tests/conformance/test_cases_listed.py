"""CASES.md and the tests say the same: what is claimed is tested, and what is tested is claimed."""

import re
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
VERDICTS = {"kept", "changed", "void", "later"}
CAPABILITIES = {"agents"}


def listed() -> dict[str, tuple[str, str]]:
    """Case number to (verdict, the rest of its row)."""
    rows = re.findall(r"^\| (S\d{3}) \| (.+?) \|(.*)\|$", (HERE / "CASES.md").read_text(encoding="utf-8"), re.MULTILINE)
    repeated = [number for number, count in Counter(row[0] for row in rows).items() if count > 1]
    assert not repeated
    return {number: (verdict, rest) for number, verdict, rest in rows}


def numbered_tests() -> dict[str, list[str]]:
    """Case number to the names of its tests."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name, number in re.findall(r"^def (test_(S\d{3})_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(number, []).append(name)
    return found


def test_every_case_has_one_known_verdict() -> None:
    """Kept, changed, void or later; a later one names the capability that brings it."""
    cases = listed()
    assert len(cases) > 100
    unknown = {number: verdict for number, (verdict, _) in cases.items() if verdict.split()[0] not in VERDICTS}
    assert not unknown
    nowhere = [
        number
        for number, (verdict, _) in cases.items()
        if verdict.startswith("later") and verdict.removeprefix("later ").strip("()") not in CAPABILITIES
    ]
    assert not nowhere


def test_every_case_that_is_not_kept_says_why() -> None:
    """A change or an omission without a reason would be an accident."""
    silent = [number for number, (verdict, rest) in listed().items() if verdict != "kept" and len(rest.split()) < 4]
    assert not silent


def test_every_case_that_holds_here_is_tested_and_no_other() -> None:
    """One test at least for each kept or changed case, none for what is void or still to come, none for an unknown number."""
    cases, tests = listed(), numbered_tests()
    due = {number for number, (verdict, _) in cases.items() if verdict.split()[0] in {"kept", "changed"}}
    assert sorted(due - set(tests)) == []
    assert sorted(set(tests) - due) == []
