"""The views that verbs ask for by name: a question in, JSON bytes out. The same ones answer over the socket and, without a controller, in the command.

The control server and the command's fallback run `answer` on a reader's transaction. Invariant: a view reads and never writes, and what it does not
find is NotFound with the nearest name as a hint.
"""

import base64
import binascii
import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from controller.base.errors import InvalidInput, NotFound
from controller.domain.records import Dispatch, Run
from controller.domain.states import WAITING, DispatchState, RunState
from controller.status import explain, project, selectors, shapes, tables, tree
from controller.status.shapes import Shape
from controller.status.text import rfc3339
from controller.store import observed, views
from controller.store.store import Tx

_PAGE = 500
_HISTORY = 50
_RESOURCES = ("jobs", "pools", "targets")
_ENDED = [state for state in DispatchState if state not in WAITING]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a view is asked. `namespace` "" is all of them, `limit` 0 the default of the view."""

    namespace: str = "default"
    name: str | None = None
    kind: str = "jobs"
    job: str | None = None
    selector: str = ""
    all: bool = False
    table: bool = False
    wide: bool = False
    limit: int = 0
    after: str | None = None


View = Callable[[Tx, Query, datetime], Any]


def answer(tx: Tx, name: str, query: Query, now: datetime) -> bytes:
    """The JSON of one view. Errors: NotFound for the view or for what it is asked about, InvalidInput for a bad question."""
    view = VIEWS.get(name)
    if view is None:
        raise NotFound(f"there is no view {name!r}; there are {', '.join(VIEWS)}")
    return _encode(view(tx, query, now))


def query_of(parameters: Mapping[str, str]) -> Query:
    """A query from the text of its parameters. Errors: InvalidInput naming the parameter."""
    try:
        return msgspec.convert(dict(parameters), Query, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the question cannot be understood: {error}") from error


# Resources


def _jobs(tx: Tx, query: Query, now: datetime) -> Any:
    matches = selectors.parse(query.selector)
    if query.table:
        lines = views.job_lines(tx, query.namespace, query.name, labels=bool(query.selector))
        _found("jobs", tx, query, lines)
        kept = [one for one in lines if matches(_mapping(one.labels))] if query.selector else lines
        return tables.jobs(kept, now, namespaces=not query.namespace, wide=query.wide)
    ids = observed.job_ids(tx, query.namespace, query.name)
    items = [job_shape(facts, now) for facts in observed.job_facts(tx, ids)]
    return _one_or_list("ScheduledJob", "jobs", tx, query, [one for one in items if matches(_labels(one))])


def job_shape(facts: observed.JobFacts, now: datetime) -> Shape:
    """A job as written, plus status. Pure."""
    return shapes.resource(facts.resource, project.job_status(facts, now).value)


def _pools(tx: Tx, query: Query, now: datetime) -> Any:
    matches = selectors.parse(query.selector)
    found = observed.pool_facts(tx, query.namespace, query.name)
    facts = [one for one in found if matches(_written_labels(one.resource))]
    if query.table:
        _found("pools", tx, query, facts)
        return tables.pools(facts, now, namespaces=not query.namespace, wide=query.wide)
    items = [shapes.resource(one.resource, project.pool_status(one, now).value) for one in facts]
    return _one_or_list("ResourcePool", "pools", tx, query, items)


def _targets(tx: Tx, query: Query, now: datetime) -> Any:
    matches = selectors.parse(query.selector)
    found = observed.target_facts(tx, query.namespace, query.name)
    facts = [one for one in found if matches(_written_labels(one.resource))]
    if query.table:
        _found("targets", tx, query, facts)
        return tables.targets(facts, now, namespaces=not query.namespace, wide=query.wide)
    items = [shapes.resource(one.resource, project.target_status(one, now).value) for one in facts]
    return _one_or_list("NotificationTarget", "targets", tx, query, items)


def _sources(tx: Tx, query: Query, now: datetime) -> Any:
    facts = observed.source_facts(tx, query.name)
    if query.table:
        _found("sources", tx, query, facts)
        return tables.sources(facts, now, wide=query.wide)
    return _one_or_list("Source", "sources", tx, query, [shapes.source(one) for one in facts])


# Work


def _runs(tx: Tx, query: Query, now: datetime) -> Any:
    def read(page: views.Page) -> list[Run]:
        return views.run_list(tx, query.namespace, name=query.name, job=query.job, output=not query.table, page=page)

    records, following = _page(read, query, lambda one: (one.created_at, one.name))
    kept = _of_selected_jobs(tx, query, records)
    if query.table:
        _found("runs", tx, query, records)
        return _continued(tables.runs(kept, now, namespaces=not query.namespace, wide=query.wide), following)
    return _one_or_list("Run", "runs", tx, query, [shapes.run(one) for one in kept], following)


def _queue(tx: Tx, query: Query, now: datetime) -> Any:
    states = list(DispatchState) if query.all else WAITING

    def read(page: views.Page) -> list[Dispatch]:
        return views.dispatch_list(tx, query.namespace, name=query.name, job=query.job, states=states, page=page)

    records, following = _page(read, query, lambda one: (one.created_at, one.id))
    kept = _of_selected_jobs(tx, query, records)
    if query.table:
        _found("queue", tx, query, records)
        return _continued(tables.queue(kept, now, namespaces=not query.namespace, wide=query.wide), following)
    return _one_or_list("Dispatch", "queue", tx, query, [shapes.dispatch(one) for one in kept], following)


def _approvals(tx: Tx, query: Query, now: datetime) -> Any:
    records = views.approval_list(tx, query.namespace, name=query.name, job=query.job)
    _found("approvals", tx, query, records)
    kept = _of_selected_jobs(tx, query, records)
    if query.table:
        return tables.approvals(kept, now, namespaces=not query.namespace, wide=query.wide)
    return _one_or_list("Approval", "approvals", tx, query, [shapes.approval(one) for one in kept])


# Accounts


def _history(tx: Tx, query: Query, _now: datetime) -> Shape:
    """Runs and dispatches that ended without one, newest first."""
    name = _needed(query)
    page = views.Page(query.limit or _HISTORY)
    ran = views.run_list(tx, query.namespace, job=name, output=False, page=page)
    ended = views.dispatch_list(tx, query.namespace, job=name, states=_ENDED, page=page)
    if not ran and not ended:
        _found("jobs", tx, query, views.job_lines(tx, query.namespace, name))
    entries = [(one.created_at, shapes.run(one)) for one in ran]
    entries += [(one.created_at, shapes.dispatch(one)) for one in ended if one.run is None]
    entries.sort(key=lambda one: one[0], reverse=True)
    return shapes.listed("History", [shape for _, shape in entries[: page.limit]])


def _tree(tx: Tx, query: Query, _now: datetime) -> Shape:
    name = _needed(query)
    found = views.run_list(tx, query.namespace, name=name, output=False) or views.run_list(
        tx, query.namespace, job=name, output=False, page=views.Page(1)
    )
    if not found:
        raise _missing("runs", name, query.namespace, views.run_names(tx, query.namespace))
    root = found[0].root
    return tree.tree(root, found[0].namespace, *views.chain(tx, found[0].namespace, root))


def _explain(tx: Tx, query: Query, now: datetime) -> Shape:
    facts = _job_facts(tx, query)
    recent = views.account(tx, facts.job.namespace, facts.job.name, query.limit or _HISTORY)
    return explain.explanation(facts.job, recent, now)


def _describe(tx: Tx, query: Query, now: datetime) -> Shape:
    """One thing with everything around it, below `about`."""
    name = _needed(query)
    shape: Shape = VIEWS[query.kind](tx, query, now)
    namespace = shape["metadata"].get("namespace", "")
    about: Shape = {
        "requests": [
            {"at": rfc3339(at), "by": actor, "verb": verb, "detail": detail}
            for at, actor, verb, detail in views.audit_of(tx, namespace, name, 10)
        ]
    }
    if query.kind == "runs":
        about["events"] = [
            {"at": rfc3339(at), "type": type_, "detail": detail} for at, type_, detail in views.run_events_of(tx, name)
        ]
    if query.kind in _RESOURCES:
        facts = observed.resource(tx, shape["kind"], namespace, name)
        about["source"] = shapes.origin(facts) if facts else None
    if query.kind == "jobs":
        about |= _explain(tx, msgspec.structs.replace(query, limit=10), now)["status"]
    return {**shape, "about": about}


def _names(tx: Tx, query: Query, _now: datetime) -> list[str]:
    """Names alone, for completion."""
    if query.kind == "jobs":
        return views.job_names(tx, query.namespace)
    if query.kind == "runs":
        return views.run_names(tx, query.namespace)
    return [one["metadata"]["name"] for one in VIEWS[query.kind](tx, query, datetime.now(UTC))["items"]]


def _outcome(tx: Tx, query: Query, _now: datetime) -> Shape:
    """Where a dispatch has come to, counting every further attempt: what `trigger --wait` waits for."""
    found = views.dispatch_list(tx, query.namespace, name=_needed(query))
    if not found:
        raise NotFound(f"there is no dispatch {query.name!r} in the namespace {query.namespace!r}")
    dispatch: Dispatch | None = found[0]
    run: Run | None = None
    while dispatch is not None and dispatch.run is not None:
        runs = views.run_list(tx, query.namespace, name=dispatch.run, output=False)
        if not runs:
            break
        run, dispatch = _last_attempt(tx, runs[0])
    waits = dispatch is not None and dispatch.state in WAITING
    ended = not waits and (run is None or run.state is not RunState.Running)
    of: Any = run if run is not None and not waits else found[0] if dispatch is None else dispatch
    return {
        "dispatch": query.name,
        "run": run.name if run else None,
        "ended": ended,
        "state": of.state.value,
        "reason": of.reason,
        "message": of.message,
        "succeeded": run is not None and run.state is RunState.Succeeded,
    }


def _last_attempt(tx: Tx, run: Run) -> tuple[Run, Dispatch | None]:
    """The last run that tried this one again, and the dispatch that will try again if one waits."""
    while True:
        again, waiting = views.followers(tx, run)
        if again is None:
            return run, waiting if waiting is not None and waiting.run is None else None
        run = again


VIEWS: dict[str, View] = {
    "jobs": _jobs,
    "runs": _runs,
    "queue": _queue,
    "approvals": _approvals,
    "pools": _pools,
    "targets": _targets,
    "sources": _sources,
    "history": _history,
    "tree": _tree,
    "explain": _explain,
    "describe": _describe,
    "names": _names,
    "outcome": _outcome,
}


def source_of(tx: Tx, namespace: str, name: str) -> str:
    """The source of that name, else the source of the job of that name. Errors: NotFound."""
    if observed.source_facts(tx, name):
        return name
    found = views.job_lines(tx, namespace, name)
    if not found:
        known = [one.name for one in observed.source_facts(tx)]
        hint = f"the sources are {', '.join(known)}" if known else ""
        raise _missing("sources", name, "", known, suggestion(tx, namespace, name) or hint)
    return found[0].source


def suggestion(tx: Tx, namespace: str, job: str) -> str:
    """What somebody who named a job that is not there may have meant; "" when nothing comes close."""
    elsewhere = [line.namespace for line in views.job_lines(tx, "", job)]
    near = _near(job, views.job_names(tx, namespace))
    if near:
        return f"did you mean {near!r}?"
    return f"there is one in the namespace {elsewhere[0]!r}: add -n {elsewhere[0]}" if elsewhere else ""


def _one_or_list(kind: str, noun: str, tx: Tx, query: Query, items: list[Shape], following: str | None = None) -> Shape:
    """The thing that was named, or the list. A name that several namespaces have gives a list. Errors: NotFound."""
    _found(noun, tx, query, items)
    if query.name is not None and len(items) == 1:
        return items[0]
    return shapes.listed(kind, items, following)


def _found(noun: str, tx: Tx, query: Query, items: Iterable[Any]) -> None:
    """Errors: NotFound when a name was given and nothing came of it."""
    if query.name is None or any(True for _ in items):
        return
    if noun == "jobs":
        raise _missing(noun, query.name, query.namespace, (), suggestion(tx, query.namespace, query.name))
    everything = msgspec.structs.replace(query, name=None, table=False, selector="", limit=100, all=True)
    known = VIEWS[noun](tx, everything, datetime.now(UTC))["items"]
    raise _missing(noun, query.name, query.namespace, [one["metadata"]["name"] for one in known])


def _missing(noun: str, name: str, namespace: str, known: Iterable[str], hint: str = "") -> NotFound:
    words = {"jobs": "job", "runs": "run", "queue": "dispatch"}
    where = f" in the namespace {namespace!r}" if namespace and noun != "sources" else ""
    error = NotFound(f"there is no {words.get(noun, noun.removesuffix('s'))} {name!r}{where}")
    near = _near(name, known)
    hint = hint or (f"did you mean {near!r}?" if near else f"`jobwarden get {noun}{'' if where else ' -A'}` lists them")
    error.add_note(hint)
    return error


def _near(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def _job_facts(tx: Tx, query: Query) -> observed.JobFacts:
    name = _needed(query)
    facts = observed.job_facts(tx, observed.job_ids(tx, query.namespace, name)[:1])
    _found("jobs", tx, query, facts)
    return facts[0]


def _needed(query: Query) -> str:
    if not query.name:
        raise InvalidInput("a name is needed")
    return query.name


def _of_selected_jobs(tx: Tx, query: Query, records: list[Any]) -> list[Any]:
    """Those whose job has labels that the selector accepts; a job that is gone has none."""
    if not query.selector:
        return records
    matches = selectors.parse(query.selector)
    labels = views.labels_of_jobs(tx, {one.job_id for one in records})
    return [one for one in records if matches(labels.get(one.job_id, {}))]


def _page(
    read: Callable[[views.Page], list[Any]], query: Query, key: Callable[[Any], tuple[datetime, str]]
) -> tuple[list[Any], str | None]:
    """One page of records, and where the next one begins if there may be one."""
    limit = min(query.limit, _PAGE) if query.limit > 0 else _PAGE
    records = read(views.Page(limit, _position(query.after)))
    if len(records) < limit or query.name is not None:
        return records, None
    instant, name = key(records[-1])
    return records, base64.urlsafe_b64encode(f"{instant.isoformat()} {name}".encode()).decode()


def _position(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    try:
        instant, _, name = base64.urlsafe_b64decode(after).decode().partition(" ")
        return datetime.fromisoformat(instant), name
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(f"{after!r} is not where a list goes on; take `continue` of the answer before") from error


def _continued(table: tables.Table, following: str | None) -> tables.Table:
    return msgspec.structs.replace(table, following=following)


def _labels(shape: Shape) -> Mapping[str, str]:
    return shape["metadata"].get("labels") or {}


def _written_labels(facts: observed.ResourceFacts) -> Mapping[str, str]:
    return msgspec.json.decode(facts.document).get("metadata", {}).get("labels") or {}


def _mapping(data: bytes | None) -> Mapping[str, str]:
    return msgspec.json.decode(data) if data else {}


_encode = msgspec.json.Encoder().encode
