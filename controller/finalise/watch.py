"""What a watchdog's check says about the work that it watches.

Exit 0 with a JSON object whose `terminal` is true: the work has ended. 1: stuck. 2: cannot tell now. Once `maxDuration` since `startedAt` has
passed, everything but an ended work is stuck. Source: reference section 9.2, cases S121, S122, S124; weakness W49 (one alert an episode).
"""

import json
from typing import Any

import msgspec

from controller.domain.job import WatchdogTarget
from controller.domain.reasons import Reason
from controller.domain.records import Ending

_TERMINAL_WORDS = frozenset({"done", "error", "interrupted"})
_DETAIL_KEYS = ("summary", "message", "error")


class Finding(msgspec.Struct, frozen=True):
    """`episode` names the trouble while it lasts (None: no trouble), so that it is told once."""

    reason: Reason
    message: str
    episode: str | None = None


def read(target: WatchdogTarget, ending: Ending) -> Finding:
    """What to think of the watched work. Pure."""
    if ending.watched is not None:
        return _runs(ending)
    expired = _expired(target, ending)
    if ending.exit_code == 0:
        report = _terminal_report(ending.output.stdout)
        if report is not None:
            return Finding(Reason.WatchEnded, _detail(report))
        if not expired:
            return Finding(Reason.StillRunning, "the watched work goes on")
    if ending.exit_code == 1:
        return Finding(Reason.Stuck, ending.note or "the check says that the work is stuck", "stuck")
    if expired:
        return Finding(Reason.Stuck, "the watched work has not ended within maxDuration", "stuck")
    if ending.exit_code == 2:
        return Finding(Reason.Transient, "the check could not tell")
    how = (
        "timed out"
        if ending.timed_out
        else f"ended by {ending.signal}"
        if ending.signal
        else f"exited with {ending.exit_code}"
    )
    return Finding(Reason.WatchFailed, f"the check {how}; it should exit 0, 1 or 2")


def _runs(ending: Ending) -> Finding:
    """A watchdog over a job: the dispatcher has compared its open runs with the bounds already."""
    if not ending.watched:
        return Finding(Reason.StillRunning, "no run of the watched job is in trouble")
    return Finding(
        Reason.Stuck, ending.note or f"in trouble: {', '.join(ending.watched)}", ",".join(sorted(ending.watched))
    )


def _expired(target: WatchdogTarget, ending: Ending) -> bool:
    if target.started_at is None or target.max_duration is None:
        return False
    return ending.finished_at - target.started_at >= target.max_duration


def _terminal_report(stdout: bytes) -> dict[str, Any] | None:
    """The JSON object in the check's output, whatever it logged around it, if it says that the work has ended."""
    text = stdout.decode("utf-8", "replace")
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        report = json.loads(text[start : end + 1])
    except ValueError:
        return None
    if not isinstance(report, dict):
        return None
    return report if report.get("terminal") is True or report.get("status") in _TERMINAL_WORDS else None


def _detail(report: dict[str, Any]) -> str:
    word = report.get("status")
    ended = "the watched work has ended" if word in {None, "done"} else f"the watched work has ended: {word}"
    detail = next((str(report[key]) for key in _DETAIL_KEYS if report.get(key)), "")
    return f"{ended}; {detail[:500]}" if detail else ended
