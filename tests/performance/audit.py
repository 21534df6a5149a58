"""What an API server was asked, from its audit log: by whom, for what, when, and when it had answered.

`cluster` reads the log of its server with it, the benchmarks C1 … C5 count and subtract. Invariant: a request counts once, at the moment at which the server received it,
however many lines the log has of it (a watch has one when it begins and one when it ends).
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

MINUTE = 60.0
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
"""Every request, without bodies."""


@dataclass(frozen=True)
class Request:
    """One request. Times in seconds since the epoch, to the microsecond."""

    id: str
    user: str
    agent: str
    verb: str
    resource: str
    """As in a URL: `jobs`, `jobs/status`."""
    namespace: str
    name: str
    received: float
    answered: float
    code: int

    @property
    def component(self) -> str:
        """Who asked: the last part of its agent's name (`cronjob-controller`), or the user where all agents of it are one."""
        return self.agent.rpartition("/")[2] if self.agent.startswith("kube-") else self.user

    @property
    def done(self) -> bool:
        """Whether it changed or gave what it should."""
        return 200 <= self.code < 300


class AuditLog:
    """The log that one server writes; read on from where it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._requests: dict[str, Request] = {}

    def requests(self, since: float = 0.0, until: float = float("inf")) -> list[Request]:
        """What was received between two moments, as far as it has been answered by now."""
        self._read_on()
        return [one for one in self._requests.values() if since <= one.received < until]

    def forget(self) -> None:
        """Keep nothing of what has been read so far."""
        self._read_on()
        self._requests.clear()

    def _read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                one = parse(json.loads(line))
                self._requests[one.id] = one


def parse(event: dict[str, Any]) -> Request:
    """One line of the log."""
    about = event.get("objectRef", {})
    parts = [about[part] for part in ("resource", "subresource") if about.get(part)]
    return Request(
        id=event["auditID"],
        user=event["user"]["username"],
        agent=event.get("userAgent", ""),
        verb=event["verb"],
        resource="/".join(parts),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        received=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        answered=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        code=event.get("responseStatus", {}).get("code", 0),
    )


def tally(requests: Iterable[Request]) -> Counter[str]:
    """How many of each kind: `patch scheduledjobs/status`."""
    return Counter(f"{one.verb} {one.resource}".strip() for one in requests)


def lateness(requests: Iterable[Request]) -> list[float]:
    """By how many seconds each request came after the whole minute before it."""
    return [one.received % MINUTE for one in requests]


def delays(begun: Iterable[Request], done: Iterable[Request]) -> list[float]:
    """Seconds from the receipt of each object's first request in `begun` to the answer of its first in `done`. Errors: KeyError for an object without one."""
    ends: dict[tuple[str, str], float] = {}
    for one in sorted(done, key=lambda one: one.answered):
        ends.setdefault((one.namespace, one.name), one.answered)
    starts: dict[tuple[str, str], float] = {}
    for one in sorted(begun, key=lambda one: one.received):
        starts.setdefault((one.namespace, one.name), one.received)
    return [ends[key] - start for key, start in starts.items()]
