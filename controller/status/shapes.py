"""The public JSON shape of everything that can be looked at: resources as written plus `status`, runs, dispatches, approvals, sources.

`views` fills them. Invariant: scripts rely on these shapes: fields are only ever added. Resources have what their schemas say and no nulls; in everything else a field
without a value is null, never left out.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controller.domain.records import Approval, Dispatch, Run
from controller.domain.trust import Grant, Identity, Outcome
from controller.evidence import dsse
from controller.evidence.dsse import Envelope
from controller.status.rejection import problems
from controller.status.text import maybe, printed, rfc3339
from controller.store.evidence import Head, Record
from controller.store.observed import ResourceFacts, SourceFacts

API_VERSION = "jobwarden.dev/v1alpha1"
Shape = dict[str, Any]


def resource(facts: ResourceFacts, status: Mapping[str, Any]) -> Shape:
    """A resource as somebody wrote it, with what the store knows of it and its status."""
    document = msgspec.json.decode(facts.document)
    metadata = {
        **document.get("metadata", {}),
        "name": facts.name,
        **({"namespace": facts.namespace} if facts.namespace else {}),
        "uid": facts.uid,
        "generation": facts.generation,
        "creationTimestamp": rfc3339(facts.created_at),
    }
    return {
        "apiVersion": document.get("apiVersion", API_VERSION),
        "kind": facts.kind,
        "metadata": metadata,
        "spec": document.get("spec", {}),
        "status": dict(status),
    }


def origin(facts: ResourceFacts) -> Shape:
    """Where the last accepted version was written, and what is wrong with a newer one."""
    rejected = facts.rejection
    return {
        "name": facts.source,
        "path": facts.path,
        "line": facts.line,
        "problems": [msgspec.to_builtins(one) for one in problems(rejected)] if rejected is not None else [],
    }


def run(record: Run) -> Shape:
    """A run. What it printed is given as its tail, made safe as UTF-8."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Run",
        "metadata": _metadata(record.name, record.namespace, rfc3339(record.created_at)),
        "spec": {
            "job": record.job,
            "cause": record.cause.value,
            "scheduledFor": rfc3339(record.scheduled_for),
            "attempt": record.attempt,
            "root": record.root,
            "retryOf": record.retry_of,
            "triggeredBy": list(record.parents),
            "parameters": dict(record.parameters),
            "requestedBy": record.actor,
            "dispatch": record.dispatch,
        },
        "status": {
            "state": record.state.value,
            "reason": record.reason,
            "message": record.message,
            "startedAt": maybe(record.started_at),
            "finishedAt": maybe(record.finished_at),
            "exitCode": record.exit_code,
            "signal": record.signal,
            "outputs": dict(record.outputs),
            "output": {
                "stdout": printed(record.output.stdout, cut=record.output.truncated),
                "stderr": printed(record.output.stderr, cut=record.output.truncated),
                "bytes": record.output.bytes,
                "truncated": record.output.truncated,
            },
            "host": record.host,
            "pid": record.handle.pid if record.handle else None,
            "cancelRequestedBy": record.cancel_requested_by,
            "trust": granted(record.grant) if record.grant else None,
        },
    }


def dispatch(record: Dispatch) -> Shape:
    """A dispatch: one intent to run."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Dispatch",
        "metadata": _metadata(record.id, record.namespace, rfc3339(record.created_at)),
        "spec": {
            "job": record.job,
            "cause": record.cause.value,
            "scheduledFor": rfc3339(record.scheduled_for),
            "through": maybe(record.through),
            "count": record.count,
            "notBefore": rfc3339(record.not_before),
            "priority": record.priority,
            "attempt": record.attempt,
            "root": record.root,
            "retryOf": record.retry_of,
            "triggeredBy": list(record.parents),
            "parameters": dict(record.parameters),
            "requestedBy": record.actor,
        },
        "status": {
            "state": record.state.value,
            "reason": record.reason,
            "message": record.message,
            "run": record.run,
            "approval": record.approval,
            "endedAt": maybe(record.ended_at),
        },
    }


def evidence(record: Record) -> Shape:
    """What is on record about a run: the statement as it can be read, and the envelope that holds it byte for byte."""
    namespace, _, job = record.chain.partition("/")
    return {
        "apiVersion": API_VERSION,
        "kind": "Evidence",
        "metadata": _metadata(record.run, namespace, rfc3339(record.recorded_at)),
        "spec": {"job": job, "sequence": record.sequence, "signer": record.signer},
        "status": {
            "digest": record.digest,
            "signed": bool(record.envelope.signatures),
            "signedAt": maybe(record.signed_at),
        },
        "statement": msgspec.json.decode(record.envelope.payload),
        "envelope": dsse.to_json(record.envelope),
    }


def chain(
    namespace: str,
    job: str,
    head: Head,
    records: Iterable[Record],
    checkpoints: Iterable[Envelope],
    following: str | None,
) -> Shape:
    """A page of the chain of a job, as envelopes. `digest` of each item is what was noted when it was recorded."""
    items = [
        {"sequence": one.sequence, "run": one.run, "digest": one.digest, "envelope": dsse.to_json(one.envelope)}
        for one in records
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "EvidenceList",
        "metadata": {"name": job, "namespace": namespace, "continue": following},
        "head": {"sequence": head.sequence, "digest": head.digest},
        "checkpoints": [dsse.to_json(one) for one in checkpoints],
        "items": items,
    }


def approval(record: Approval) -> Shape:
    """A request for a decision; `decisions` is keyed by who decided."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Approval",
        "metadata": _metadata(record.name, record.namespace, rfc3339(record.created_at)),
        "spec": {
            "jobRef": {"name": record.job},
            "dispatch": record.dispatch,
            "gate": record.gate,
            "policyRef": policy_ref(record),
            "digest": record.digest,
            "parameters": dict(record.parameters),
            "scheduledFor": rfc3339(record.scheduled_for),
            "requestedBy": record.requested_by,
            "message": record.message,
            "approvals": record.required,
            "allowSelf": record.allow_self,
            "approvers": list(record.approvers),
            "onTimeout": record.on_timeout,
            "decisions": {
                one.by: {
                    "decision": "Approved" if one.approved else "Rejected",
                    "reason": one.reason,
                    "at": rfc3339(one.at),
                }
                for one in record.decisions
            },
        },
        "status": {
            "state": record.state.value,
            "expiresAt": rfc3339(record.expires_at),
            "decidedAt": maybe(record.decided_at),
        },
    }


def policy_ref(record: Approval) -> Shape | None:
    """The policy and the rule that ask; None where the job itself does. Pure."""
    if record.policy is None:
        return None
    kind, _, name = record.policy.partition(" ")
    return {"kind": kind, "name": name.rpartition("/")[2], "rule": record.rule}


def source(facts: SourceFacts) -> Shape:
    """A source with what it last gave. `errors` are those of the last attempt."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Source",
        "metadata": {"name": facts.name},
        "spec": {"kind": facts.kind, "location": facts.location},
        "status": {
            "ready": "True" if facts.served and facts.reason is None else "False",
            "served": facts.served,
            "servedBy": {"instance": facts.owner, "host": facts.host, "pid": facts.pid} if facts.owner else None,
            "revision": facts.revision,
            "signedBy": facts.signer,
            "attemptedRevision": facts.attempted_revision,
            "appliedAt": maybe(facts.applied_at),
            "reason": facts.reason,
            "message": facts.message,
            "failingSince": maybe(facts.failing_since),
            "resources": facts.resources,
            "errors": [msgspec.to_builtins(one) for one in problems(facts.errors)] if facts.errors else [],
        },
    }


def listed(kind: str, items: list[Shape], following: str | None = None) -> Shape:
    """A list of things of one kind; `following` is where the next page begins."""
    value: Shape = {"apiVersion": API_VERSION, "kind": f"{kind}List", "items": items}
    return value if following is None else {**value, "metadata": {"continue": following}}


def _metadata(name: str, namespace: str, created: str) -> Shape:
    return {"name": name, "namespace": namespace, "creationTimestamp": created}


def granted(grant: Grant) -> Shape:
    """What the gates said of a run: who it was, what each gate found, under which digest."""
    return {
        "identity": _identity(grant.identity),
        "outcomes": [_outcome(one) for one in grant.outcomes],
        "digest": grant.digest,
    }


def _identity(one: Identity | None) -> Shape | None:
    if one is None:
        return None
    shape: Shape = {
        "kind": one.subject.kind.value,
        "principal": one.subject.principal,
        "trustLevel": one.level.value,
        "scopes": list(one.scopes),
    }
    provider = {"provider": f"{one.provider.kind} {one.provider.name}"} if one.provider is not None else {}
    attested = {"attestation": one.attestation} if one.attestation is not None else {}
    return shape | provider | attested | ({"narrowedFrom": list(one.narrowed_from)} if one.narrowed_from else {})


def _outcome(one: Outcome) -> Shape:
    shape: Shape = {"gate": one.gate, "decision": one.decision.value, "reason": one.reason, "message": one.message}
    return shape | ({"facts": dict(one.facts)} if one.facts else {})
