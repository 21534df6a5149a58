"""The verbs that change something, by name: JSON in, rows changed, JSON out. One table for the control socket and for a command without a controller.

Invariant: a verb is one transaction with an actor; either all of it happened or nothing.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from controller.base.errors import InvalidInput, NotFound
from controller.base.people import Actor
from controller.base.references import SecretSource
from controller.base.structs import described
from controller.dispatch import requests
from controller.domain.records import Job
from controller.status import shapes
from controller.status.text import maybe, rfc3339
from controller.store.store import Tx

Answer = dict[str, Any]
Body = TypeVar("Body", bound="Request")


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What every verb is given."""

    namespace: str = "default"


@described
class Trigger(Request, frozen=True, kw_only=True):
    """Run a job now."""

    name: str
    parameters: dict[str, str] = {}
    key: str | None = None
    scheduled_for: datetime | None = None
    proof_from: SecretSource | None = None


@described
class Cancel(Request, frozen=True, kw_only=True):
    """End a run or a waiting dispatch (`name`), or a whole chain (`root`)."""

    name: str | None = None
    root: str | None = None


@described
class Decide(Request, frozen=True, kw_only=True):
    """Approve or reject."""

    name: str
    reason: str = ""


@described
class Hold(Request, frozen=True, kw_only=True):
    """Pause a job."""

    name: str
    reason: str
    until: datetime | None = None


@described
class Release(Request, frozen=True, kw_only=True):
    """Lift a hold."""

    name: str


Verb = Callable[[Tx, Mapping[str, Any], Actor, datetime], Answer]


def perform(tx: Tx, verb: str, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    """Do a verb. Effect: rows in the caller's transaction. Errors: NotFound, Conflict, InvalidInput, with words for people."""
    if verb not in VERBS:
        raise NotFound(f"there is no verb {verb!r}; there are {', '.join(VERBS)}")
    return VERBS[verb](tx, body, actor, now)


def _trigger(tx: Tx, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    asked = _read(body, Trigger)
    dispatch = requests.trigger(
        tx,
        now,
        asked.namespace,
        asked.name,
        asked.parameters,
        asked.key,
        actor.name,
        asked.scheduled_for,
        proof=asked.proof_from,
    )
    return shapes.dispatch(dispatch)


def _cancel(tx: Tx, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    asked = _read(body, Cancel)
    if (asked.name is None) is (asked.root is None):
        raise InvalidInput("say which run to cancel, or with --root which chain, not both")
    if asked.root is not None:
        ended = requests.cancel_root(tx, now, asked.namespace, asked.root, actor.name)
        return shapes.listed("Run", [shapes.run(one) for one in ended])
    assert asked.name is not None
    try:
        runs = requests.cancel_run(tx, now, asked.namespace, asked.name, actor.name)
    except NotFound as no_run:
        try:
            waiting = requests.cancel_dispatch(tx, now, asked.namespace, asked.name, actor.name)
        except NotFound:
            raise no_run from None
        return shapes.listed("Dispatch", [shapes.dispatch(waiting)])
    return shapes.listed("Run", [shapes.run(one) for one in runs])


def _approve(tx: Tx, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    asked = _read(body, Decide)
    return shapes.approval(
        requests.approve(tx, now, asked.namespace, asked.name, actor.name, asked.reason, actor.groups)
    )


def _reject(tx: Tx, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    asked = _read(body, Decide)
    return shapes.approval(
        requests.reject(tx, now, asked.namespace, asked.name, actor.name, asked.reason, actor.groups)
    )


def _hold(tx: Tx, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    asked = _read(body, Hold)
    return _held(requests.hold(tx, now, asked.namespace, asked.name, asked.reason, asked.until, actor.name))


def _release(tx: Tx, body: Mapping[str, Any], actor: Actor, now: datetime) -> Answer:
    asked = _read(body, Release)
    return _held(requests.release(tx, now, asked.namespace, asked.name, actor.name))


VERBS: Mapping[str, Verb] = {
    "trigger": _trigger,
    "cancel": _cancel,
    "approve": _approve,
    "reject": _reject,
    "hold": _hold,
    "release": _release,
}


def _held(job: Job) -> Answer:
    hold = job.hold
    held = (
        {"reason": hold.reason, "by": hold.by, "since": rfc3339(hold.since), "until": maybe(hold.until)}
        if hold
        else None
    )
    return {
        "apiVersion": shapes.API_VERSION,
        "kind": "ScheduledJob",
        "metadata": {"name": job.name, "namespace": job.namespace},
        "status": {"hold": held, "nextRunAt": maybe(job.next_fire_at)},
    }


def _read(body: Mapping[str, Any], kind: type[Body]) -> Body:
    try:
        asked = msgspec.convert(dict(body), kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request cannot be understood: {error}") from error
    if not asked.namespace:
        raise InvalidInput("a namespace is needed: this verb is about one thing (-n NAMESPACE)")
    return asked
