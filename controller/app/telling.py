"""Hands news to everybody who listens: the terminal that shows the story, or else the log, and watchers of the control socket."""

import logging
import re

import msgspec

from controller.base.logs import event
from controller.domain.story import StoryEvent, StoryKind, Tell

_log = logging.getLogger("jobwarden.story")
_NEED_A_LOOK = frozenset({StoryKind.Rejected, StoryKind.Trouble, StoryKind.Alert, StoryKind.Missed})
_PHRASES = {kind: re.sub("(?<=[a-z])(?=[A-Z])", " ", kind.value).lower() for kind in StoryKind}


class Telling:
    """A `Tell` for all. Who listens may be said later; until then there are no watchers."""

    def __init__(self, tell: Tell | None, *, as_logs: bool) -> None:
        self._tell = tell
        self._as_logs = as_logs
        self._listeners: list[Tell] = []

    def listen(self, listener: Tell) -> None:
        """Hand news to `listener` as well, from now on."""
        self._listeners.append(listener)

    def __call__(self, news: StoryEvent) -> None:
        """Never raises: news are no reason to stop."""
        if self._tell is not None:
            self._tell(news)
        level = logging.WARNING if news.kind in _NEED_A_LOOK else logging.INFO
        if self._as_logs and _log.isEnabledFor(level):
            facts = {name: value for name, value in msgspec.structs.asdict(news).items() if name not in {"at", "kind"}}
            words = facts.pop("message")
            event(_log, _PHRASES[news.kind], level, **facts, detail=words)
        for listener in self._listeners:
            listener(news)
