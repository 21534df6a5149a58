"""Rounds, ratios and verdicts: the method of the suite, without any knowledge of what is measured.

A round runs limit, ours, rivals, ours, limit, one after the other, so that a slow drift of the machine falls on all sides alike. It
counts only if its two limits agree; the score is the median of the ratios of the rounds that count. Benchmarks hand in a `Case`,
`report` takes the `Outcome`s. Invariant: a ratio is only ever made from figures of one and the same round.
"""

import operator
import statistics
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.performance.progress import Progress

AGREEMENT = 0.25
"""How far the two limits of a round may be apart, as a part of the larger one, before the round is called noisy."""

Metrics = Mapping[str, float]
Side = Callable[[], Metrics]
Number = Callable[["Round"], float]


class NotAvailable(Exception):
    """A rival or a server that this machine does not have. The text says what is missing."""


class InvalidSample(Exception):
    """The sample does not measure what it should (say, jobs were still being loaded at T). It is taken once more."""


@dataclass(frozen=True)
class Round:
    """The figures of one round: each side's metrics, the mean where a side ran twice."""

    limit: Metrics
    ours: Metrics
    rivals: Mapping[str, Metrics]
    disagreement: float

    @property
    def counts(self) -> bool:
        """Whether the machine was quiet enough: the two limits agree."""
        return self.disagreement < AGREEMENT


@dataclass(frozen=True)
class Check:
    """One number made of each round, and what it should be. `target` None: printed, not judged."""

    name: str
    number: Number
    compare: str = "<="
    target: float | None = None
    unit: str = "x"
    rival: str = ""
    """The rival that `number` needs; without that rival's figures the check is not measured."""


@dataclass(frozen=True)
class Case:
    """One line of the suite: a workload in one variant."""

    id: str
    variant: str
    unit: str
    """What the main metrics `value` of all sides count, e.g. `runs/s`."""
    limit: Side | None
    ours: Side
    rivals: Mapping[str, Side] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    rounds: int | None = None
    """Rounds that must count, where the suite's number does not fit (a minute-long idle watch)."""
    twice: bool = True
    """Whether our side runs before and after the rivals, or once."""
    close: Callable[[], None] = lambda: None
    """Frees what the case prepared (databases, folders, servers)."""


@dataclass(frozen=True)
class Score:
    """A check over all rounds that count."""

    check: Check
    median: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """`reached`, `missed by …`, `-` (nothing to reach) or `not measured`."""
        if self.median is None:
            return "not measured"
        if self.check.target is None:
            return "-"
        holds = {"<=": operator.le, ">=": operator.ge}[self.check.compare]
        if holds(self.median, self.check.target):
            return "reached"
        if self.check.target == 0 or self.median == 0:
            return f"missed by {abs(self.median - self.check.target):.3g} {self.check.unit}"
        factor = max(self.median / self.check.target, self.check.target / self.median)
        return f"missed by {factor:.2f}x"


@dataclass(frozen=True)
class Outcome:
    """What became of a case: its rounds, its scores, and in words what could not be measured."""

    case: Case
    rounds: tuple[Round, ...]
    scores: tuple[Score, ...]
    notes: tuple[str, ...]
    failure: str = ""

    @property
    def counted(self) -> tuple[Round, ...]:
        """The rounds that the scores are made of."""
        return tuple(one for one in self.rounds if one.counts)


def run(case: Case, needed: int, at_most: int, progress: Progress) -> Outcome:
    """Run rounds of a case until `needed` of them count or `at_most` have been run.

    A failing product side ends the case with its failure in the outcome; a rival that is missing or fails is noted and left out.
    """
    rounds: list[Round] = []
    notes: list[str] = []
    needed = case.rounds or needed
    at_most = max(needed, at_most if case.rounds is None else needed * 2)
    rivals = dict(case.rivals)
    failure = ""
    try:
        while len(rounds) < at_most and sum(one.counts for one in rounds) < needed:
            label = f"{case.id} {case.variant}: round {len(rounds) + 1}"
            rounds.append(_round(case, rivals, notes, label, progress))
            if not rounds[-1].counts:
                progress.say(f"{label}: noisy, its limits differ by {rounds[-1].disagreement:.0%}; it does not count")
    except NotAvailable as missing:
        notes.append(f"not measured: {missing}")
    except Exception as error:  # noqa: BLE001 - one broken benchmark must not hide the figures of the others
        failure = _short(error)
        progress.say(f"{case.id} {case.variant}: FAILED: {failure}\n{traceback.format_exc()}")
    finally:
        case.close()
    counted = [one for one in rounds if one.counts]
    if rounds and len(counted) < needed:
        notes.append(f"noisy machine: only {len(counted)} of {len(rounds)} rounds count, {needed} were wanted")
    scores = tuple(_score(check, counted) for check in case.checks)
    return Outcome(case, tuple(rounds), scores, tuple(dict.fromkeys(notes)), failure)


def _round(case: Case, rivals: dict[str, Side], notes: list[str], label: str, progress: Progress) -> Round:
    limits = [_sample(case.limit, f"{label}, limit", progress)] if case.limit else []
    ours = [_sample(case.ours, f"{label}, ours", progress)]
    theirs = {name: metrics for name in list(rivals) if (metrics := _rival(rivals, name, notes, label, progress))}
    if case.twice:
        ours.append(_sample(case.ours, f"{label}, ours again", progress))
    if case.limit:
        limits.append(_sample(case.limit, f"{label}, limit again", progress))
    return Round(_mean(limits), _mean(ours), theirs, _disagreement(limits))


def _sample(side: Side, label: str, progress: Progress) -> Metrics:
    """One figure. A sample that calls itself invalid is taken again, twice at most."""
    with progress.during(label):
        for attempt in range(3):
            try:
                return side()
            except InvalidSample as why:
                if attempt == 2:
                    raise
                progress.say(f"{label}: taken again: {why}")
    raise AssertionError("unreachable")


def _rival(rivals: dict[str, Side], name: str, notes: list[str], label: str, progress: Progress) -> Metrics | None:
    try:
        return _sample(rivals[name], f"{label}, {name}", progress)
    except NotAvailable as missing:
        notes.append(f"{name} not measured: {missing}")
    except Exception as error:  # noqa: BLE001 - a rival's trouble is a note, not ours
        notes.append(f"{name} not measured: {_short(error)}")
    progress.say(notes[-1])
    del rivals[name]
    return None


def _short(error: Exception) -> str:
    """The first and the last line of what went wrong; progress has told all of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    ends = lines if len(lines) == 1 else [lines[0], lines[-1]]
    return f"{type(error).__name__}: {' … '.join(line[:160] for line in ends)}"


def _mean(samples: list[Metrics]) -> Metrics:
    """The mean of every metric that all samples have."""
    if not samples:
        return {}
    common = [name for name in samples[0] if all(name in one for one in samples)]
    return {name: statistics.fmean(one[name] for one in samples) for name in common}


def _disagreement(limits: list[Metrics]) -> float:
    if len(limits) < 2:
        return 0.0
    values = [one["value"] for one in limits]
    return (max(values) - min(values)) / max(values)


def _score(check: Check, counted: list[Round]) -> Score:
    usable = [one for one in counted if not check.rival or check.rival in one.rivals]
    numbers = sorted(check.number(one) for one in usable)
    if not numbers:
        return Score(check, None, None, None)
    return Score(check, statistics.median(numbers), numbers[0], numbers[-1])


def slower_than_limit(target: float | None) -> Check:
    """L/ours for rates: how many times the limit is faster."""
    return Check("limit / ours", lambda r: r.limit["value"] / r.ours["value"], "<=", target)


def times_limit(target: float | None) -> Check:
    """ours/L for durations: how many times as long as the limit we take."""
    return Check("ours / limit", lambda r: r.ours["value"] / r.limit["value"], "<=", target)


def absolute(name: str, metric: str, compare: str, target: float | None, unit: str) -> Check:
    """A metric of our side as it is."""
    return Check(name, lambda r: r.ours[metric], compare, target, unit)


def faster_than(rival: str, target: float | None) -> Check:
    """ours/rival for rates: how many times faster we are."""
    return Check(f"ours / {rival}", lambda r: r.ours["value"] / r.rivals[rival]["value"], ">=", target, rival=rival)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome with every figure of every round, ready for JSON."""
    return {
        "id": outcome.case.id,
        "variant": outcome.case.variant,
        "unit": outcome.case.unit,
        "failure": outcome.failure,
        "notes": list(outcome.notes),
        "rounds": [
            {
                "counts": one.counts,
                "limitsDifferBy": round(one.disagreement, 4),
                "limit": dict(one.limit),
                "ours": dict(one.ours),
                "rivals": {name: dict(metrics) for name, metrics in one.rivals.items()},
            }
            for one in outcome.rounds
        ],
        "scores": [
            {
                "check": score.check.name,
                "unit": score.check.unit,
                "median": score.median,
                "min": score.low,
                "max": score.high,
                "compare": score.check.compare,
                "target": score.check.target,
                "verdict": score.verdict,
            }
            for score in outcome.scores
        ],
    }
