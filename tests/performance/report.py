"""Outcomes as a table for the terminal, as JSON, and as the table of BENCHMARKS.md.

`__main__` hands it the outcomes of `harness`. Invariant: a figure that was not measured is called that, never left to look like a zero.
"""

import json
import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.performance.harness import Outcome, Score, as_json

_COLUMNS = ("id", "workload", "limit", "ours", "check", "score (min - max)", "target", "verdict", "rounds")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpus": os.cpu_count(),
        "model": _model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "loadBefore": round(os.getloadavg()[0], 2),
    }


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(outcomes: Sequence[Outcome], surroundings: dict[str, Any], path: Path) -> None:
    """Write every figure of every round as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": surroundings,
        "cases": [as_json(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """One line per check; the case's own columns only on its first."""
    table: list[tuple[str, ...]] = []
    for outcome in outcomes:
        head = (outcome.case.id, outcome.case.variant, _side(outcome, "limit"), _side(outcome, "ours"))
        counted = f"{len(outcome.counted)}/{len(outcome.rounds)}"
        scores = outcome.scores or (None,)
        for number, score in enumerate(scores):
            first = number == 0
            table.append((*(head if first else ("", "", "", "")), *_score(score, outcome), counted if first else ""))
    return table


def _side(outcome: Outcome, side: str) -> str:
    values = [getattr(one, side)["value"] for one in outcome.counted if "value" in getattr(one, side)]
    return (
        f"{figure(statistics.median(values))} {outcome.case.unit if side == 'ours' else ''}".strip() if values else "-"
    )


def _score(score: Score | None, outcome: Outcome) -> tuple[str, str, str, str]:
    if score is None:
        return ("-", "-", "-", "failed" if outcome.failure else "-")
    check = score.check
    target = "-" if check.target is None else f"{check.compare} {figure(check.target)} {check.unit}"
    if score.median is None or score.low is None or score.high is None:
        return (check.name, "-", target, "failed" if outcome.failure else "not measured")
    told = f"{figure(score.median)} ({figure(score.low)} - {figure(score.high)}) {check.unit}"
    return (check.name, told, target, score.verdict)


def figure(value: float) -> str:
    """Three significant digits, thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def text(outcomes: Sequence[Outcome]) -> str:
    """The table for a terminal, with notes below it."""
    table = [_COLUMNS, *rows(outcomes)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *notes(outcomes)])


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The same table for BENCHMARKS.md."""
    lines = [" | ".join(("", *_COLUMNS, "")).strip(), "|" + " --- |" * len(_COLUMNS)]
    lines += [" | ".join(("", *row, "")).strip() for row in rows(outcomes)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(outcomes))]) + "\n"


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What could not be measured, what was discarded, what failed."""
    told = []
    for outcome in outcomes:
        who = f"{outcome.case.id} {outcome.case.variant}"
        noisy = len(outcome.rounds) - len(outcome.counted)
        if noisy:
            told.append(f"{who}: {noisy} of {len(outcome.rounds)} rounds discarded as noisy")
        told += [f"{who}: {note}" for note in outcome.notes]
        if outcome.failure:
            told.append(f"{who}: FAILED: {outcome.failure}")
    return told
