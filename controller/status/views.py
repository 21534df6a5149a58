"""The views that verbs ask for by name: a question in, JSON bytes out. The same ones answer over the socket and, without a controller, in the command.

The control server and the command's fallback run `answer` on a reader's transaction. Invariant: a view reads and never writes, and what it does not
find is NotFound with the nearest name as a hint.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from controller.base.errors import InvalidInput, NotFound
from controller.domain.abilities import Abilities
from controller.domain.governors import Governed, governing
from controller.domain.records import Dispatch, Job, Run
from controller.domain.states import WAITING, DispatchState, RunState
from controller.domain.trust import Grant
from controller.gates import pipeline
from controller.gates.enquiries import Enquiry, Finding
from controller.gates.facts import Granted, Unanswered
from controller.kinds.catalog import KINDS
from controller.status import explain, project, selectors, shapes, tables, tree, trust
from controller.status.query import Query, missing, needed, of_selected_jobs, page_of, query_of, suggestion
from controller.status.shapes import Shape
from controller.status.text import rfc3339
from controller.store import evidence, governors, observed, views
from controller.store.grants import Testimony, hand_down
from controller.store.store import Tx

_HISTORY = 50
_EVIDENCE = 500
_TRUST = {
    "identities": "IdentityProfile",
    "credentialpolicies": "CredentialPolicy",
    "contracts": "TrustContract",
    "policies": "AuthorizationPolicy",
    "providers": "CredentialProvider",
}
_RESOURCES = ("jobs", "pools", "targets", *_TRUST)

_NOTHING: Mapping[str, Finding] = {}

_ENDED = [state for state in DispatchState if state not in WAITING]


__all__ = ["VIEWS", "Checked", "Query", "answer", "query_of", "source_of", "trust_check"]

View = Callable[[Tx, Query, datetime], Any]


def answer(tx: Tx, name: str, query: Query, now: datetime) -> bytes:
    """The JSON of one view. Errors: NotFound for the view or for what it is asked about, InvalidInput for a bad question."""
    return _encode(_view(name)(tx, query, now))


def _view(name: str) -> View:
    view = VIEWS.get(name)
    if view is None:
        raise NotFound(f"there is no view {name!r}; there are {', '.join(VIEWS)}")
    return view


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


def _documents(kind: str, noun: str) -> View:
    """The view of a kind of which only its acceptance is known, with its Cluster form."""
    kinds = [one for one in (kind, f"Cluster{kind}") if one in KINDS]

    def view(tx: Tx, query: Query, now: datetime) -> Any:
        matches = selectors.parse(query.selector)
        found = observed.document_facts(tx, kinds, query.namespace, query.name)
        facts = [one for one in found if matches(_written_labels(one))]
        items = [shapes.resource(one, project.document_status(one, now).value) for one in facts]
        if query.table:
            _found(noun, tx, query, facts)
            return tables.documents(items, now, namespaces=not query.namespace, wide=query.wide)
        return _one_or_list(kind, noun, tx, query, items)

    return view


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

    records, following = page_of(read, query, lambda one: (one.created_at, one.name))
    kept = of_selected_jobs(tx, query, records)
    if query.table:
        _found("runs", tx, query, records)
        return _continued(tables.runs(kept, now, namespaces=not query.namespace, wide=query.wide), following)
    return _one_or_list("Run", "runs", tx, query, [shapes.run(one) for one in kept], following)


def _queue(tx: Tx, query: Query, now: datetime) -> Any:
    states = list(DispatchState) if query.all else WAITING

    def read(page: views.Page) -> list[Dispatch]:
        return views.dispatch_list(tx, query.namespace, name=query.name, job=query.job, states=states, page=page)

    records, following = page_of(read, query, lambda one: (one.created_at, one.id))
    kept = of_selected_jobs(tx, query, records)
    if query.table:
        _found("queue", tx, query, records)
        return _continued(tables.queue(kept, now, namespaces=not query.namespace, wide=query.wide), following)
    return _one_or_list("Dispatch", "queue", tx, query, [shapes.dispatch(one) for one in kept], following)


def _approvals(tx: Tx, query: Query, now: datetime) -> Any:
    records = views.approval_list(tx, query.namespace, name=query.name, job=query.job)
    _found("approvals", tx, query, records)
    kept = of_selected_jobs(tx, query, records)
    if query.table:
        return tables.approvals(kept, now, namespaces=not query.namespace, wide=query.wide)
    return _one_or_list("Approval", "approvals", tx, query, [shapes.approval(one) for one in kept])


# Evidence


def _evidence(tx: Tx, query: Query, _now: datetime) -> Shape:
    """What is on record about the run that is named; else the chain of a job, a page at a time, its checkpoints with the first one."""
    if query.name is not None:
        record = evidence.of_name(tx, query.namespace, query.name)
        if record is None:
            raise _unrecorded(tx, query.namespace, query.name)
        return shapes.evidence(record)
    if not query.job:
        raise InvalidInput("the name of a run or of a job is needed")
    if not query.namespace:
        raise InvalidInput("evidence is of one namespace: say which with -n NAMESPACE")
    head = evidence.head(tx, query.namespace, query.job)
    if head is None:
        known = evidence.names(tx, query.namespace)
        hint = f"there is some of {', '.join(known[:10])}" if known else "contracts ask for it with `evidence.level`"
        error = NotFound(f"there is no evidence of the job {query.job!r} in the namespace {query.namespace!r}")
        error.add_note(hint)
        raise error
    limit = query.limit or _EVIDENCE
    records = evidence.page(tx, query.namespace, query.job, _number(query.after), limit)
    following = str(records[-1].sequence) if len(records) == limit else None
    marks = evidence.marks(tx, query.namespace, query.job) if query.after is None else []
    return shapes.chain(query.namespace, query.job, head, records, marks, following)


def _unrecorded(tx: Tx, namespace: str, name: str) -> NotFound:
    """Why there is nothing: no such run, or one that leaves no evidence (yet)."""
    found = views.run_list(tx, namespace, name=name, output=False)
    if not found:
        return missing("runs", name, namespace, views.run_names(tx, namespace))
    if found[0].state is RunState.Running:
        return NotFound(f"the run {name!r} has not ended; what is known of it is put on record when it has")
    error = NotFound(f"there is no evidence of the run {name!r}")
    error.add_note("its contract asked for none, or it is older than what is kept")
    return error


def _number(after: str | None) -> int:
    if after is None:
        return 0
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise InvalidInput(f"{after!r} is not where a chain goes on; take `continue` of the answer before")
    return int(after)


# Accounts


def _history(tx: Tx, query: Query, _now: datetime) -> Shape:
    """Runs and dispatches that ended without one, newest first."""
    name = needed(query)
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
    name = needed(query)
    found = views.run_list(tx, query.namespace, name=name, output=False) or views.run_list(
        tx, query.namespace, job=name, output=False, page=views.Page(1)
    )
    if not found:
        raise missing("runs", name, query.namespace, views.run_names(tx, query.namespace))
    root = found[0].root
    return tree.tree(root, found[0].namespace, *views.chain(tx, found[0].namespace, root))


def _explain(tx: Tx, query: Query, now: datetime) -> Shape:
    facts = _job_facts(tx, query)
    recent = views.account(tx, facts.job.namespace, facts.job.name, query.limit or _HISTORY)
    return explain.explanation(facts.job, recent, now)


class Checked(NamedTuple):
    """What the gates would say of a job, what they would ask others first, and what would be opened where they permit it."""

    shape: Shape
    enquiries: tuple[Enquiry, ...] = ()
    opens: tuple[Dispatch, Job, Grant | None] | None = None


def trust_check(
    tx: Tx,
    query: Query,
    now: datetime,
    abilities: Abilities | None = None,
    found: Mapping[str, Finding] = _NOTHING,
) -> Checked:
    """What the gates would say of a job now, asked by nobody in particular, after the newest runs of its parents if it has any.

    `abilities` are those of the host that would run it, and `found` what others have said, by the keys of their enquiries.
    """
    job = _job_facts(tx, query).job
    parents = [
        run.name
        for parent in (job.spec.trigger.after if job.spec.trigger is not None else ())
        for run in views.run_list(tx, job.namespace, job=parent.job, output=False, page=views.Page(1))
    ]
    dispatch = trust.hypothetical(job, tuple(parents), now)
    documents = governors.read(tx)
    governed = governing(job.spec.trust, job.namespace, job.labels, documents)
    if governed is None:
        if not hand_down(tx, parents):
            return Checked(trust.checked(job, None, None), opens=(dispatch, job, None))
        governed = Governed()
    facts = Testimony(tx, [(dispatch, job)]).facts(
        dispatch, job, governed, now, abilities, found, documents.providers()
    )
    answer = pipeline.decide(facts)
    return Checked(
        trust.checked(job, governed, answer),
        answer.enquiries if isinstance(answer, Unanswered) else (),
        (dispatch, job, answer.grant) if isinstance(answer, Granted) else None,
    )


def _trust_check(tx: Tx, query: Query, now: datetime) -> Shape:
    """Without a controller: nobody is asked, and nobody knows what the host can do."""
    checked = trust_check(tx, query, now)
    if checked.enquiries:
        checked.shape["status"]["message"] += "; only a controller that runs asks"
    return checked.shape


def _trust_explain(tx: Tx, query: Query, _now: datetime) -> Shape:
    """What was decided about a run, and why."""
    name = needed(query)
    found = views.run_list(tx, query.namespace, name=name, output=False)
    if not found:
        raise missing("runs", name, query.namespace, views.run_names(tx, query.namespace))
    return trust.explained(found[0])


def _describe(tx: Tx, query: Query, now: datetime) -> Shape:
    """One thing with everything around it, below `about`."""
    name = needed(query)
    shape: Shape = _view(query.kind)(tx, query, now)
    if "items" in shape:
        raise InvalidInput(f"several namespaces have a {name!r}: say which with -n NAMESPACE")
    namespace = shape["metadata"].get("namespace", "")
    about: Shape = {
        "requests": [
            {"at": rfc3339(at), "by": actor, "verb": verb, "detail": detail}
            for at, actor, verb, detail in views.audit_of(tx, namespace, name, 10)
        ]
    }
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
    return [one["metadata"]["name"] for one in _view(query.kind)(tx, query, datetime.now(UTC))["items"]]


def _outcome(tx: Tx, query: Query, _now: datetime) -> Shape:
    """Where a dispatch has come to, counting every further attempt: what `trigger --wait` waits for."""
    found = views.dispatch_list(tx, query.namespace, name=needed(query))
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
    **{noun: _documents(kind, noun) for noun, kind in _TRUST.items()},
    "trust-check": _trust_check,
    "trust-explain": _trust_explain,
    "evidence": _evidence,
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
        raise missing("sources", name, "", known, suggestion(tx, namespace, name) or hint)
    return found[0].source


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
        raise missing(noun, query.name, query.namespace, (), suggestion(tx, query.namespace, query.name))
    everything = msgspec.structs.replace(query, name=None, table=False, selector="", limit=100, all=True)
    known = VIEWS[noun](tx, everything, datetime.now(UTC))["items"]
    raise missing(noun, query.name, query.namespace, [one["metadata"]["name"] for one in known])


def _job_facts(tx: Tx, query: Query) -> observed.JobFacts:
    name = needed(query)
    facts = observed.job_facts(tx, observed.job_ids(tx, query.namespace, name)[:1])
    _found("jobs", tx, query, facts)
    return facts[0]


def _continued(table: tables.Table, following: str | None) -> tables.Table:
    return msgspec.structs.replace(table, following=following)


def _labels(shape: Shape) -> Mapping[str, str]:
    return shape["metadata"].get("labels") or {}


def _written_labels(facts: observed.ResourceFacts) -> Mapping[str, str]:
    return msgspec.json.decode(facts.document).get("metadata", {}).get("labels") or {}


def _mapping(data: bytes | None) -> Mapping[str, str]:
    return msgspec.json.decode(data) if data else {}


_encode = msgspec.json.Encoder().encode
