"""The live story of `jobwarden run`: one quiet line for each piece of news, coloured on a terminal.

The engine calls what `teller` gives. Invariant: `line` is pure, and every event fits on one line whatever its texts hold.
"""

import threading
from datetime import datetime, timedelta
from typing import IO

from controller.cli.paint import colourful, paint
from controller.domain.story import StoryEvent, StoryKind, Tell

_LOOK: dict[StoryKind, tuple[str, str | None]] = {
    StoryKind.Started: ("serving", "bold"),
    StoryKind.Source: ("source", "dim"),
    StoryKind.Applied: ("applied", "cyan"),
    StoryKind.Removed: ("removed", "cyan"),
    StoryKind.Rejected: ("rejected", "red"),
    StoryKind.RunStarted: ("started", "blue"),
    StoryKind.RunFinished: ("finished", "green"),
    StoryKind.Denied: ("denied", "red"),
    StoryKind.Retrying: ("retrying", "yellow"),
    StoryKind.Waiting: ("waiting", "yellow"),
    StoryKind.Skipped: ("skipped", "dim"),
    StoryKind.Missed: ("missed", "yellow"),
    StoryKind.Cancelled: ("cancelled", "dim"),
    StoryKind.ApprovalRequested: ("approve?", "yellow"),
    StoryKind.ApprovalDecided: ("decided", "cyan"),
    StoryKind.Held: ("held", "yellow"),
    StoryKind.Released: ("released", "cyan"),
    StoryKind.Alert: ("alert", "red"),
    StoryKind.Trouble: ("trouble", "red"),
    StoryKind.Draining: ("draining", "bold"),
    StoryKind.Stopped: ("stopped", "bold"),
}
_MOST = 300
_LATE = timedelta(seconds=5)


def teller(stream: IO[str]) -> Tell:
    """A taker of news that writes lines to `stream`; safe from every thread, silent once nobody reads."""
    lock = threading.Lock()
    colours = colourful(stream)

    def tell(event: StoryEvent) -> None:
        text = line(event, local=event.at.astimezone())
        if colours:
            text = _coloured(event, text, stream)
        with lock:
            try:
                stream.write(text + "\n")
                stream.flush()
            except (OSError, ValueError):
                return  # the terminal has gone; the controller goes on

    return tell


def line(event: StoryEvent, local: datetime) -> str:
    """One line of text: time, what, about whom, and the rest. Pure.

    Shape:  `12:00:01  finished  backup-4fk2abcd  Failed  ExitCode 3  1.2s`; namespaces other than `default` are shown.
    """
    word, _ = _LOOK[event.kind]
    parts = [f"{local:%H:%M:%S}", f"{word:<9}", _who(event)]
    parts += [part for part in _facts(event) if part]
    text = "  ".join(part for part in parts if part).rstrip()
    text = "".join(one if one.isprintable() else " " for one in text)
    return text if len(text) <= _MOST else text[: _MOST - 1] + "…"


def _who(event: StoryEvent) -> str:
    name = event.run or event.job or event.subject or ""
    return f"{event.namespace}/{name}" if event.namespace not in (None, "", "default") else name


def _facts(event: StoryEvent) -> list[str]:
    facts = [event.state or ""]
    if event.kind is StoryKind.Rejected and event.job:
        facts.append(event.subject or "")  # file, line and column
    reason = event.reason or ""
    if event.exit_code:
        reason = f"{reason} {event.exit_code}".strip()
    if event.kind is not StoryKind.RunFinished or event.state != "Succeeded":
        facts.append(reason)
    if event.kind is StoryKind.RunStarted and event.cause:
        facts.append(
            event.cause if not event.attempt or event.attempt == 1 else f"{event.cause}, attempt {event.attempt}"
        )
    if event.seconds is not None:
        facts.append(_span(event.seconds))
    if event.due is not None and (event.kind is not StoryKind.RunStarted or event.at - event.due > _LATE):
        facts.append(f"{_word(event, event.due)} {_moment(event, event.due)}")
    # The exit code stands there already.
    facts.append("" if event.exit_code and event.message == f"exit code {event.exit_code}" else event.message or "")
    if event.hint:
        facts.append(f"→ {event.hint}")
    return facts


def _word(event: StoryEvent, due: datetime) -> str:
    if event.kind is StoryKind.ApprovalRequested:
        return "until"
    return "due" if due < event.at else "at"


def _moment(event: StoryEvent, due: datetime) -> str:
    """The wall time of an instant, with its day where that is another one than the event's."""
    here = event.at.astimezone()
    local = due.astimezone(here.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == here.date() else f"{local:%Y-%m-%d %H:%M:%S}"


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"


def _coloured(event: StoryEvent, text: str, stream: IO[str]) -> str:
    word, colour = _LOOK[event.kind]
    if event.kind is StoryKind.RunFinished and event.state not in (None, "Succeeded"):
        colour = "yellow" if event.state == "Cancelled" else "red"
    before, found, after = text.partition(word)
    return f"{paint(before, 'dim', stream)}{paint(found, colour, stream)}{after}"
