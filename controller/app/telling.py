"""Hands news to everybody who listens: the terminal, watchers of the control socket, the log of a controller that writes JSON."""

import logging
from collections.abc import Callable

import msgspec

from controller.base.logs import event
from controller.domain.story import StoryEvent, Tell

_log = logging.getLogger("jobwarden.story")


class Telling:
    """A `Tell` for all. `publish` may be set later; until then there are no watchers."""

    def __init__(self, tell: Tell | None, *, as_logs: bool) -> None:
        self._tell = tell
        self._as_logs = as_logs
        self.publish: Callable[[StoryEvent], None] = lambda _event: None

    def __call__(self, news: StoryEvent) -> None:
        """Never raises: news are no reason to stop."""
        if self._tell is not None:
            self._tell(news)
        if self._as_logs and _log.isEnabledFor(logging.INFO):
            facts = {name: value for name, value in msgspec.structs.asdict(news).items() if name not in {"at", "kind"}}
            words = facts.pop("message")
            event(_log, news.kind.value, **facts, detail=words)
        self.publish(news)
