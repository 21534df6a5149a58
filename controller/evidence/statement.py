"""The in-toto statement about one run: what it was decided to be, what it was given, how it ended.

`store.evidence` hands over facts and the place in the chain, and keeps the bytes; `verify` reads them again. Invariant: the same facts give the same bytes, no value
of a parameter or an output is in them, and none of what a run printed, only digests. Source: in-toto Attestation Framework, Statement v1; RFC 8785 for the bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from controller.base import canonical
from controller.base.clock import rfc3339
from controller.domain.records import Approval, Run
from controller.domain.trust import Detail, Grant, Identity, Outcome

TYPE = "https://in-toto.io/Statement/v1"
RUN = "https://jobwarden.dev/attestation/run/v1"


class Place(msgspec.Struct, frozen=True):
    """Where a statement stands: the number in the chain of its job, from 1, and the digest of the one before (None for the first)."""

    namespace: str
    job: str
    sequence: int
    previous: str | None = None


class Facts(msgspec.Struct, frozen=True):
    """What a statement is made from. `run` has ended or was denied, and has a grant; `revision` is given where what the source said there is what ran."""

    run: Run
    recorded_at: datetime
    effective_digest: str | None = None
    source: str | None = None
    revision: str | None = None
    approval: Approval | None = None


def wanted(run: Run) -> bool:
    """Whether a statement is to be made about a run. Pure."""
    return run.grant is not None and run.grant.contract.evidence.level is not Detail.Nothing


def of_run(facts: Facts, place: Place) -> bytes:
    """The statement, as canonical JSON. Pure. Errors: ValueError for text that is no Unicode."""
    run, grant = facts.run, facts.run.grant
    assert grant is not None
    full = grant.contract.evidence.level is Detail.Full
    about = _about(run)
    predicate = {
        "detail": grant.contract.evidence.level.value,
        "chain": place_of(place),
        "run": about,
        "spec": _without_none(
            {
                "digest": grant.digest,
                "effectiveDigest": facts.effective_digest,
                "source": facts.source,
                "revision": facts.revision,
                "governors": dict(grant.governors) if full else None,
            }
        ),
        "identity": _identity(grant.identity, full=full) if grant.identity is not None else None,
        "contract": _contract(grant, full=full),
        "decisions": [_decision(outcome, full=full) for outcome in grant.outcomes],
        "approval": _approval(facts.approval, full=full) if facts.approval is not None else None,
        "inputs": _values(run.parameters, full=full),
        "outputs": _outputs(run, full=full),
        "result": _without_none(
            {
                "state": run.state.value,
                "reason": run.reason,
                "exitCode": run.exit_code,
                "signal": run.signal,
                "message": run.message if full else None,
            }
        ),
        "times": _without_none(
            {
                "created": rfc3339(run.created_at),
                "started": rfc3339(run.started_at) if run.started_at is not None else None,
                "finished": rfc3339(run.finished_at) if run.finished_at is not None else None,
                "recorded": rfc3339(facts.recorded_at),
            }
        ),
    }
    name = f"{run.namespace}/{run.name}"
    subject = [{"name": name, "digest": digest_set(canonical.dumps_plain(about))}]
    if not run.output.truncated:  # else what is stored is a tail, whose digest is nobody's
        printed = (("stdout", run.output.stdout), ("stderr", run.output.stderr))
        subject += [{"name": f"{name}/{stream}", "digest": digest_set(data)} for stream, data in printed if data]
    return statement(subject, RUN, predicate)


def statement(subject: Sequence[Mapping[str, Any]], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """An in-toto statement as canonical JSON. Pure. Errors: as `canonical.dumps_plain`."""
    return canonical.dumps_plain(
        {"_type": TYPE, "subject": list(subject), "predicateType": predicate_type, "predicate": dict(predicate)}
    )


def digest(data: bytes) -> str:
    """SHA-256 of a statement's bytes, in hexadecimal: what the next statement names. Pure."""
    return hashlib.sha256(data).hexdigest()


def digest_set(data: bytes) -> dict[str, str]:
    """SHA-256 in the form of in-toto's DigestSet. Pure."""
    return {"sha256": digest(data)}


def place_of(place: Place) -> dict[str, Any]:
    """The place as statements say it. Pure."""
    return {
        "namespace": place.namespace,
        "job": place.job,
        "sequence": place.sequence,
        "previous": {"sha256": place.previous} if place.previous is not None else None,
    }


def _about(run: Run) -> dict[str, Any]:
    """Which run it is; its digest is that of the statement's first subject."""
    return _without_none(
        {
            "namespace": run.namespace,
            "name": run.name,
            "job": run.job,
            "jobUid": run.job_uid,
            "dispatch": run.dispatch,
            "cause": run.cause.value,
            "attempt": run.attempt,
            "root": run.root,
            "retryOf": run.retry_of,
            "triggeredBy": list(run.parents) or None,
            "requestedBy": run.actor,
            "scheduledFor": rfc3339(run.scheduled_for),
        }
    )


def _identity(identity: Identity, *, full: bool) -> dict[str, Any]:
    provider = identity.provider
    return _without_none(
        {
            "kind": identity.subject.kind.value,
            "principal": identity.subject.principal,
            "level": identity.level.value,
            "delegation": identity.delegation.value,
            "runAs": identity.subject.run_as if full else None,
            "provider": f"{provider.kind}/{provider.name}" if full and provider is not None else None,
            "scopes": list(identity.scopes) if full else None,
            "narrowedFrom": list(identity.narrowed_from) if full and identity.narrowed_from else None,
            "attestation": identity.attestation if full else None,
        }
    )


def _contract(grant: Grant, *, full: bool) -> dict[str, Any]:
    contract = grant.contract
    box = contract.box
    return _without_none(
        {
            "requiredTrustLevel": contract.required.value,
            "enforcement": contract.enforcement.value,
            "box": {
                "enforcement": box.enforcement.value,
                "profile": box.profile.value,
                "network": box.network.value,
                "hosts": list(box.hosts),
            }
            if full
            else None,
            "maxCost": str(contract.max_cost) if full and contract.max_cost is not None else None,
        }
    )


def _decision(outcome: Outcome, *, full: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"gate": outcome.gate, "decision": outcome.decision.value, "reason": outcome.reason}
    return {**said, "message": outcome.message, "facts": dict(outcome.facts)} if full else said


def _approval(approval: Approval, *, full: bool) -> dict[str, Any]:
    decisions = [
        _without_none(
            {
                "by": one.by,
                "approved": one.approved,
                "at": rfc3339(one.at),
                "reason": one.reason if full and one.reason else None,
            }
        )
        for one in approval.decisions
    ]
    return {"name": approval.name, "gate": approval.gate, "digest": approval.digest, "decisions": decisions}


def _values(values: Mapping[str, str], *, full: bool) -> dict[str, Any]:
    """Digests of named values: of all together, and in full of each."""
    one = {"digest": digest_set(canonical.dumps_plain(dict(values)))}
    if not full:
        return one
    return {**one, "names": {name: digest_set(value.encode()) for name, value in values.items()}}


def _outputs(run: Run, *, full: bool) -> dict[str, Any]:
    found = {**_values(run.outputs, full=full), "bytes": run.output.bytes, "truncated": run.output.truncated}
    if full:
        found |= {"stdout": digest_set(run.output.stdout), "stderr": digest_set(run.output.stderr)}
    return found


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
