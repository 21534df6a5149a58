"""What of a job's story is worth an Event on its object, and in which words. Pure, but for what `Observed` remembers of objects.

`told` takes the engine's news, `Observed` what reconciling found; the recorder posts what they give. Invariant: no output and no value of a job is in a note,
only names, instants, reasons and what the status says as well; and what was told before a restart is not told again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from controller.domain.reasons import Reason
from controller.domain.states import RunState
from controller.domain.story import StoryEvent, StoryKind
from controller.kinds.records import ManifestError
from controller.kubernetes.mirror import Held, Mirror
from controller.reconcile.records import JOB, Key
from controller.status.rejection import summary
from controller.status.text import to_second

MOST_BYTES = 1024
"""Of a note, by the API of Events."""


class Why(StrEnum):
    """The reasons of our Events, as `kubectl get events --field-selector reason=…` finds them."""

    Started = "Started"
    Succeeded = "Succeeded"
    Failed = "Failed"
    TimedOut = "TimedOut"
    Cancelled = "Cancelled"
    Crashed = "Crashed"
    Denied = "Denied"
    Retrying = "Retrying"
    Missed = "Missed"
    Skipped = "Skipped"
    ApprovalRequested = "ApprovalRequested"
    ApprovalDecided = "ApprovalDecided"
    Suspended = "Suspended"
    Resumed = "Resumed"
    Overdue = "Overdue"
    InvalidSpec = "InvalidSpec"
    RequestRefused = "RequestRefused"


_ACTIONS: Mapping[Why, str] = {
    Why.Retrying: "Retry",
    Why.Missed: "Fire",
    Why.Skipped: "Fire",
    Why.ApprovalRequested: "Approve",
    Why.ApprovalDecided: "Approve",
    Why.Suspended: "Suspend",
    Why.Resumed: "Suspend",
    Why.Overdue: "Watch",
    Why.InvalidSpec: "Reconcile",
    Why.RequestRefused: "Obey",
}
_WARNINGS = frozenset(
    {Why.Failed, Why.TimedOut, Why.Crashed, Why.Denied, Why.Missed, Why.Overdue, Why.InvalidSpec, Why.RequestRefused}
)


class Occurrence(NamedTuple):
    """One thing that happened to one object. `uid` None: it is that of the object which has the name, if the job is one of the cluster's at all."""

    key: Key
    why: Why
    note: str
    at: datetime
    uid: str | None = None

    @property
    def action(self) -> str:
        """What was being done: one word."""
        return _ACTIONS.get(self.why, "Run")

    @property
    def type(self) -> str:
        """Normal or Warning."""
        return "Warning" if self.why in _WARNINGS else "Normal"


def told(news: StoryEvent) -> Occurrence | None:
    """News of a job as an occurrence; None for what is not worth one. Pure."""
    words = _WORDS.get(news.kind)
    if words is None or news.namespace is None or news.job is None:
        return None
    why, note = words(news)
    return Occurrence(Key(JOB, news.namespace, news.job), why, bounded(note), news.at)


def bounded(note: str) -> str:
    """As much of a note as an Event takes. Pure."""
    data = note.encode()
    return note if len(data) <= MOST_BYTES else data[: MOST_BYTES - 3].decode(errors="ignore") + "…"


def _started(news: StoryEvent) -> tuple[Why, str]:
    attempt = f", attempt {news.attempt}" if news.attempt and news.attempt > 1 else ""
    due = f" for {to_second(news.due)}" if news.due is not None else ""
    return Why.Started, f"Run {news.run} has started{due} ({news.cause or 'unknown cause'}{attempt})"


def _finished(news: StoryEvent) -> tuple[Why, str]:
    why = Why(news.state or Why.Crashed)
    code = f" with exit code {news.exit_code}" if news.exit_code else ""
    span = f" after {news.seconds:.3g} s" if news.seconds is not None else ""
    because = f": {_sentence(news.reason)}" if news.state != RunState.Succeeded else ""
    return why, f"Run {news.run} has ended as {why}{code}{span}{because}"


def _denied(news: StoryEvent) -> tuple[Why, str]:
    return Why.Denied, f"Run {news.run} was refused ({news.reason}): {news.message}"


def _retrying(news: StoryEvent) -> tuple[Why, str]:
    when = f" at {to_second(news.due)}" if news.due is not None else ""
    return Why.Retrying, f"Run {news.run} is tried again{when}, attempt {news.attempt}"


def _passed_over(news: StoryEvent) -> tuple[Why, str]:
    why = Why(news.kind.value)
    instant = f"The instant {to_second(news.due)}" if news.due is not None else "A dispatch"
    return why, f"{instant} ({news.cause or 'Schedule'}) was {why.lower()}: {_sentence(news.reason)}"


def _asked(news: StoryEvent) -> tuple[Why, str]:
    until = f" until {to_second(news.due)}" if news.due is not None else ""
    return Why.ApprovalRequested, f"Somebody has to approve or reject {news.subject}{until}"


def _decided(news: StoryEvent) -> tuple[Why, str]:
    return Why.ApprovalDecided, f"Approval {news.subject} has ended as {news.state}"


def _held(_news: StoryEvent) -> tuple[Why, str]:
    return Why.Suspended, "The job is held"


def _released(_news: StoryEvent) -> tuple[Why, str]:
    return Why.Resumed, "The job is not held any more"


def _overdue(news: StoryEvent) -> tuple[Why, str]:
    return Why.Overdue, _sentence(news.reason or Reason.Stuck)


def _refused(news: StoryEvent) -> tuple[Why, str]:
    return Why.RequestRefused, news.message or "A request could not be met"


_WORDS: Mapping[StoryKind, Callable[[StoryEvent], tuple[Why, str]]] = {
    StoryKind.RunStarted: _started,
    StoryKind.RunFinished: _finished,
    StoryKind.Denied: _denied,
    StoryKind.Retrying: _retrying,
    StoryKind.Missed: _passed_over,
    StoryKind.Skipped: _passed_over,
    StoryKind.Cancelled: _passed_over,
    StoryKind.ApprovalRequested: _asked,
    StoryKind.ApprovalDecided: _decided,
    StoryKind.Held: _held,
    StoryKind.Released: _released,
    StoryKind.Alert: _overdue,
    StoryKind.Trouble: _refused,
}


def _sentence(reason: str | None) -> str:
    """The catalogue's words: those of a message may come from what a job has written."""
    try:
        return Reason(reason or "").sentence
    except ValueError:
        return reason or "no reason is known"


class _Suspension(msgspec.Struct):
    suspend: bool = False


class _Written(msgspec.Struct):
    spec: _Suspension = msgspec.field(default_factory=_Suspension)


class _Condition(msgspec.Struct):
    type: str
    status: str
    observedGeneration: int = 0  # noqa: N815 - the API's name


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


_written = msgspec.json.Decoder(_Written).decode
_status = msgspec.json.Decoder(_Status).decode


class Observed:
    """Refusals and suspensions, found by comparing objects with what was seen of them before; the first look at an object tells of refusals only."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._refused: dict[str, tuple[str, int]] = {}  # uid and generation that were told
        self._suspended: dict[str, tuple[str, bool]] = {}

    def look(
        self, paths: Sequence[str], refused: Mapping[str, Sequence[ManifestError]], now: datetime
    ) -> Iterator[Occurrence]:
        """What is new about objects that were just reconciled. `refused` are all that are refused, by path."""
        self._forget_gone()
        for path, errors in refused.items():
            held = self._mirror.held.get(path)
            if held is not None and self._is_news(path, held):
                note = summary(msgspec.json.encode(list(errors)))[1]
                yield Occurrence(_key(path), Why.InvalidSpec, bounded(note), now, held.uid)
        for path in paths:
            held = self._mirror.held.get(path)
            if held is not None and path not in refused:
                yield from self._suspension(path, held, now)

    def forget(self) -> None:
        """Others look from now on."""
        self._refused.clear()
        self._suspended.clear()

    def _forget_gone(self) -> None:
        for known in (self._refused, self._suspended):
            if len(known) > len(self._mirror.held):
                for path in known.keys() - self._mirror.held.keys():
                    del known[path]

    def _is_news(self, path: str, held: Held) -> bool:
        """Whether nobody has told of this version: neither we, nor the status that somebody wrote before us."""
        here = (held.uid, held.generation)
        before, self._refused[path] = self._refused.get(path), here
        conditions = _status(held.status).conditions
        said = any(
            one.type == "Stalled" and one.status == "True" and one.observedGeneration >= held.generation
            for one in conditions
        )
        return before != here and not said

    def _suspension(self, path: str, held: Held, now: datetime) -> Iterator[Occurrence]:
        if _key(path).kind != JOB:
            return
        suspend = _written(held.data).spec.suspend
        before, self._suspended[path] = self._suspended.get(path), (held.uid, suspend)
        if before is not None and before == (held.uid, not suspend):
            why, words = (
                (Why.Suspended, "The schedule is suspended") if suspend else (Why.Resumed, "The schedule goes on")
            )
            yield Occurrence(_key(path), why, words, now, held.uid)


def _key(path: str) -> Key:
    kind, namespace, name = path.lstrip("/").split("/")
    return Key(kind, namespace, name)
