"""Questions and requests to one installation: through an API server where a cluster is named, else over the control socket where a controller
listens, else to the database itself.

Verbs call `view`, `act` and `log`; only this module knows which way they go. Invariant: all ways give answers of the same shape and raise the same errors.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from controller.base import paths
from controller.cli.client import Client, NotRunning
from controller.cli.settings import Settings, note
from controller.status import job_table as job_table_of
from controller.store import quick


def view(settings: Settings, name: str, /, **question: Any) -> bytes:
    """The JSON of a view. Errors: what the view raises, ControllerUnreachable, StoreUnavailable."""
    parameters = _parameters({"namespace": settings.scope, **question})
    if settings.in_cluster:
        seen: bytes = settings.cluster.view(name, parameters)
        return seen
    try:
        return Client(settings.socket).get(f"/v1/views/{name}?{urlencode(parameters)}")
    except NotRunning:
        answer: bytes = _local(settings).view(name, parameters)
        return answer


def ask(settings: Settings, name: str, /, **question: Any) -> Any:
    """As `view`, decoded."""
    return json.loads(view(settings, name, **question))


def job_table(settings: Settings, name: str | None, *, wide: bool) -> Any:
    """The view `jobs` as a table; without a controller read straight from the SQLite file, because this is asked most and must be quick."""
    file = None if settings.in_cluster else paths.sqlite_file(settings.database)
    if file is not None and not settings.socket.exists():
        lines = quick.job_lines(file, settings.scope, name)
        if lines or (lines is not None and name is None):
            form = {"namespaces": not settings.scope, "wide": wide}
            rows = job_table_of.rows(lines, datetime.now(UTC), **form)
            return {"columns": job_table_of.columns(**form), "volatile": job_table_of.VOLATILE, "rows": rows}
    return ask(settings, "jobs", table=True, wide=wide, name=name)


def act(settings: Settings, verb: str, body: Mapping[str, Any]) -> Any:
    """Have a verb done; gives its JSON answer. Errors: what the verb raises, ControllerUnreachable, StoreUnavailable."""
    request = {"namespace": settings.scope, **{key: value for key, value in body.items() if value is not None}}
    if settings.in_cluster:
        return settings.cluster.act(verb, request)
    try:
        return Client(settings.socket).post(f"/v1/verbs/{verb}", request)
    except NotRunning:
        return _local(settings).act(verb, request)


def log(settings: Settings, run: str, *, follow: bool) -> Iterator[bytes]:
    """What a run printed, exactly, in pieces; `follow` goes on until it has ended."""
    if settings.in_cluster:
        yield from settings.cluster.log(settings.scope, run, follow=follow)
        return
    query = urlencode(_parameters({"namespace": settings.scope, "follow": follow}))
    client = Client(settings.socket)
    try:
        yield from client.stream(f"/v1/logs/{quote(run, safe='')}?{query}", endless=follow)
        if client.note:
            note(client.note)
    except NotRunning:
        yield from _local(settings).log(settings.scope, run, follow=follow)


def cronjob(settings: Settings, name: str) -> Any:
    """A CronJob of the cluster that is named, or that kubectl would ask. Errors: NotFound, Forbidden, ControllerUnreachable."""
    return settings.cluster.cronjob(settings.namespace or settings.cluster.namespace, name)


def _parameters(question: Mapping[str, Any]) -> dict[str, str]:
    """Query parameters: nothing for what was not asked, `true` for flags."""
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in question.items()
        if value is not None and value is not False
    }


def _local(settings: Settings) -> Any:
    # SQLAlchemy costs 150 ms; it is needed only where no controller answers.
    from controller.cli.local import Local  # noqa: PLC0415

    return Local(settings.database)
