"""The benchmark harness: which rounds count, what a score is, and what is told of what was not measured."""

from collections.abc import Callable, Iterator

from tests.performance import harness, report
from tests.performance.harness import Case, Check, Metrics, NotAvailable, absolute, faster_than, slower_than_limit
from tests.performance.progress import Progress


class Quiet(Progress):
    """Collects the lines instead of printing them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def one_after_the_other(*values: float) -> Callable[[], Metrics]:
    """A side that gives these figures, one a sample."""
    following: Iterator[float] = iter(values)
    return lambda: {"value": next(following)}


def always(value: float) -> Callable[[], Metrics]:
    return lambda: {"value": value}


def case(limit: harness.Side, ours: harness.Side, *checks: Check, **more: object) -> Case:
    return Case("B0", "anything", "runs/s", limit, ours, checks=checks, **more)  # type: ignore[arg-type]


def test_a_score_is_the_median_of_ratios_within_each_round() -> None:
    """Means over both samples of a side, divided inside the round; the median and the extremes of that."""
    limit = one_after_the_other(100, 100, 200, 200, 400, 400)
    ours = one_after_the_other(40, 60, 100, 100, 400, 400)
    outcome = harness.run(case(limit, ours, slower_than_limit(1.5)), 3, 3, Quiet())
    (score,) = outcome.scores
    assert (score.median, score.low, score.high) == (2.0, 1.0, 2.0)
    assert score.verdict == "missed by 1.33x"


def test_a_round_whose_limits_disagree_by_a_quarter_does_not_count() -> None:
    """It is run again, it is told, and its figures are in no score."""
    limit = one_after_the_other(100, 75, 100, 76, 100, 100)
    outcome = harness.run(case(limit, always(50), slower_than_limit(2.0)), 2, 5, Quiet())
    assert [one.counts for one in outcome.rounds] == [False, True, True]
    assert outcome.scores[0].verdict == "reached"
    assert any("1 of 3 rounds discarded" in note for note in report.notes([outcome]))


def test_too_few_quiet_rounds_are_told() -> None:
    """After the most rounds the case ends, with what counts and a note; without any the check is not measured."""
    limit = one_after_the_other(*[100, 10] * 4)
    outcome = harness.run(case(limit, always(50), slower_than_limit(2.0)), 3, 4, Quiet())
    assert outcome.scores[0].verdict == "not measured"
    assert any("only 0 of 4 rounds count" in note for note in outcome.notes)


def test_a_missing_rival_costs_only_its_own_check() -> None:
    """The reason is told; the gate against the limit is still measured."""

    def missing() -> Metrics:
        raise NotAvailable("no registry within reach")

    checks = (slower_than_limit(2.0), faster_than("other", 1.0))
    outcome = harness.run(case(always(100), always(60), *checks, rivals={"other": missing}), 2, 2, Quiet())
    assert [score.verdict for score in outcome.scores] == ["reached", "not measured"]
    assert "other not measured: no registry within reach" in outcome.notes


def test_a_benchmark_that_fails_is_reported_and_closed() -> None:
    """Its failure is in the outcome, never an exception that hides the other benchmarks."""
    closed = []

    def broken() -> Metrics:
        raise RuntimeError("a job ran twice")

    outcome = harness.run(
        case(always(1), broken, absolute("rate", "value", ">=", 1.0, "/s"), close=lambda: closed.append(True)),
        1,
        1,
        Quiet(),
    )
    assert outcome.failure == "RuntimeError: a job ran twice"
    assert closed == [True]
    assert "failed" in report.text([outcome])


def test_an_invalid_sample_is_taken_again() -> None:
    """A sample that says it does not measure what it should is repeated, and only the good one is used."""
    attempts = iter([harness.InvalidSample("loaded too late"), {"value": 5.0}, {"value": 5.0}])

    def ours() -> Metrics:
        following = next(attempts)
        if isinstance(following, Exception):
            raise following
        return following

    outcome = harness.run(case(always(10), ours, slower_than_limit(2.0)), 1, 1, Quiet())
    assert not outcome.failure
    assert outcome.scores[0].median == 2.0
