"""The environment of a run, from nothing: what it inherits, what its job declares, what the run is.

`dispatch` builds it for the `ExecutionRequest`; the process sees exactly this. Source: the environment contract of page 02 of the design.
Invariant: no other variable of the controller reaches a run, and no declared variable can pose as one that the controller sets.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

_INHERITED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"})
_INHERITED_PREFIX = "LC_"
_RESERVED_PREFIX = "JOBWARDEN_"
_TRACE = "TRACEPARENT"


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is told about itself."""

    run: str
    job: str
    namespace: str
    root_run: str
    attempt: int
    time_zone: str = "UTC"  # of the schedule; both instants are given in it
    scheduled_for: datetime | None = None
    previous_scheduled_for: datetime | None = None
    triggered_by: tuple[str, ...] = ()  # names of runs
    output_path: str
    parameters: Mapping[str, str] = {}


def inherited(controller: Mapping[str, str]) -> dict[str, str]:
    """The part of the controller's environment that every run gets. Pure; once per controller is enough."""
    return {
        name: value for name, value in controller.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIX)
    }


def build(base: Mapping[str, str], declared: Mapping[str, str], facts: RunFacts) -> dict[str, str]:
    """The complete environment: `base` (from `inherited`), over it the job's own variables, over both the run's. Pure.

    Shape:  every JOBWARDEN_ variable but the parameters is always there, empty where there is nothing to say, so that `set -u` scripts can ask.
    Source: RFC 3339 for instants, https://www.w3.org/TR/trace-context/ for TRACEPARENT.
    """
    own = {name: value for name, value in declared.items() if not reserved(name)}
    return {**base, **own, **_facts(facts)}


def reserved(name: str) -> bool:
    """Whether a variable is one that only the controller sets. Pure."""
    return name.startswith(_RESERVED_PREFIX) or name == _TRACE


def _facts(facts: RunFacts) -> dict[str, str]:
    zone = ZoneInfo(facts.time_zone)
    variables = {
        "JOBWARDEN_RUN_ID": facts.run,
        "JOBWARDEN_JOB": facts.job,
        "JOBWARDEN_NAMESPACE": facts.namespace,
        "JOBWARDEN_ROOT_RUN": facts.root_run,
        "JOBWARDEN_ATTEMPT": str(facts.attempt),
        "JOBWARDEN_SCHEDULED_FOR": _instant(facts.scheduled_for, zone),
        "JOBWARDEN_PREVIOUS_SCHEDULED_FOR": _instant(facts.previous_scheduled_for, zone),
        "JOBWARDEN_TRIGGERED_BY": ",".join(facts.triggered_by),
        "JOBWARDEN_OUTPUT": facts.output_path,
        _TRACE: trace_parent(facts.namespace, facts.root_run, facts.run),
    }
    for name, value in facts.parameters.items():
        variables[f"JOBWARDEN_PARAM_{name.upper()}"] = value
    return variables


def _instant(instant: datetime | None, zone: ZoneInfo) -> str:
    return "" if instant is None else instant.astimezone(zone).isoformat()


def trace_parent(namespace: str, root_run: str, run: str) -> str:
    """One trace for a whole chain and its retries, one span for each run; the same whenever and wherever it is asked for. Pure."""
    trace = hashlib.sha256(f"trace {namespace}/{root_run}".encode()).hexdigest()[:32]
    span = hashlib.sha256(f"span {namespace}/{run}".encode()).hexdigest()[:16]
    return f"00-{trace}-{span}-01"
