"""What a view is asked, and what all views share: pages, selections by the labels of jobs, and answers to names that nothing has.

`views` uses these. Invariant: whatever is not found is NotFound with the nearest name, or the place where it is, as a hint.
"""

import base64
import binascii
import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from controller.base.errors import InvalidInput, NotFound
from controller.base.structs import described
from controller.status import selectors
from controller.store import views
from controller.store.store import Tx

_PAGE = 500


@described
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


def query_of(parameters: Mapping[str, str]) -> Query:
    """A query from the text of its parameters. Errors: InvalidInput naming the parameter."""
    try:
        return msgspec.convert(dict(parameters), Query, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the question cannot be understood: {error}") from error


def suggestion(tx: Tx, namespace: str, job: str) -> str:
    """What somebody who named a job that is not there may have meant; "" when nothing comes close."""
    elsewhere = [line.namespace for line in views.job_lines(tx, "", job)]
    near = _near(job, views.job_names(tx, namespace))
    if near:
        return f"did you mean {near!r}?"
    return f"there is one in the namespace {elsewhere[0]!r}: add -n {elsewhere[0]}" if elsewhere else ""


def missing(noun: str, name: str, namespace: str, known: Iterable[str], hint: str = "") -> NotFound:
    """The error for a name that nothing has; `known` are the names to look for the nearest in. Pure."""
    words = {
        "queue": "dispatch",
        "identities": "identity",
        "credentialpolicies": "credentialpolicy",
        "policies": "policy",
    }
    where = f" in the namespace {namespace!r}" if namespace and noun != "sources" else ""
    error = NotFound(f"there is no {words.get(noun, noun.removesuffix('s'))} {name!r}{where}")
    near = _near(name, known)
    hint = hint or (f"did you mean {near!r}?" if near else f"`jobwarden get {noun}{'' if where else ' -A'}` lists them")
    error.add_note(hint)
    return error


def _near(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def needed(query: Query) -> str:
    """The name that the question must have. Errors: InvalidInput."""
    if not query.name:
        raise InvalidInput("a name is needed")
    return query.name


def page_of(
    read: Callable[[views.Page], list[Any]], query: Query, key: Callable[[Any], tuple[datetime, str]]
) -> tuple[list[Any], str | None]:
    """One page of records, and where the next one begins if there may be one."""
    limit = query.limit if query.limit > 0 else _PAGE
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


def of_selected_jobs(tx: Tx, query: Query, records: list[Any]) -> list[Any]:
    """Those whose job has labels that the selector accepts; a job that is gone has none."""
    if not query.selector:
        return records
    matches = selectors.parse(query.selector)
    labels = views.labels_of_jobs(tx, {one.job_id for one in records})
    return [one for one in records if matches(labels.get(one.job_id, {}))]
