"""Answers from a cluster: objects by the rights of whoever asks, and what only the controller knows through the API server's service proxy.

`asking` comes here where a context is named. Invariant: nothing is done in anybody else's name, and nothing but RBAC decides what may be done.

| asked | comes from |
| --- | --- |
| jobs, pools, targets, approvals, and describe of them | the objects |
| runs, queue, sources, history, tree, explain, logs | the controller: GET through `services/proxy` |
| trigger | a RunRequest |
| approve, reject | one's own key under `spec.decisions` of the Approval |
| hold, release, cancel, reconcile | an annotation of the ScheduledJob |
"""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from controller.api import headers
from controller.base.errors import Conflict, ControllerUnreachable, Forbidden, InvalidInput, NotFound
from controller.cli.client import raise_said
from controller.cli.settings import note
from controller.kinds.catalog import API_VERSION, GROUP, KINDS, VERSION, Kind
from controller.kubernetes.api import Api, Path, refused
from controller.status.text import NONE, rfc3339

Object = dict[str, Any]

NAMESPACE = "jobwarden"
_LABEL = "app.kubernetes.io/name=jobwarden"
_PORT = "history"
_SECRET = "jobwarden.dev/history-secret"  # noqa: S105 - an annotation of the Service that names one
_ANNOTATION = "jobwarden.dev/"
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "jobs": (KINDS["ScheduledJob"],),
    "approvals": (KINDS["Approval"],),
    "pools": (KINDS["ResourcePool"], KINDS["ClusterResourcePool"]),
    "targets": (KINDS["NotificationTarget"], KINDS["ClusterNotificationTarget"]),
    "identities": (KINDS["IdentityProfile"],),
    "credentialpolicies": (KINDS["CredentialPolicy"],),
    "contracts": (KINDS["TrustContract"], KINDS["ClusterTrustContract"]),
    "policies": (KINDS["AuthorizationPolicy"], KINDS["ClusterAuthorizationPolicy"]),
    "providers": (KINDS["CredentialProvider"], KINDS["ClusterCredentialProvider"]),
}


class Cluster:
    """One cluster, asked as one person."""

    def __init__(self, context: str | None, controller_namespace: str | None = None, timeout: float = 60.0) -> None:
        """Errors: InvalidInput where no API server can be found."""
        self._api = Api(context, timeout)
        self._home = controller_namespace or NAMESPACE
        self.namespace = self._api.namespace

    # Questions

    def view(self, name: str, parameters: Mapping[str, str]) -> bytes:
        """As GET /v1/views/<name>."""
        asked = parameters.get("kind", "jobs")
        answer: Any
        if name in _KINDS:
            answer = self._table(name, parameters) if "table" in parameters else self._objects(name, parameters)
        elif name == "describe" and asked in _KINDS:
            answer = self._described(asked, parameters)
        elif name == "names" and asked in _KINDS:
            answer = [one["metadata"]["name"] for one in self._listed(asked, parameters)]
        elif name == "outcome":
            answer = self._outcome(parameters["namespace"], parameters["name"])
        else:
            seen: bytes = self._ask_controller(f"/v1/views/{name}?{urlencode(parameters)}").whole()
            return seen
        return json.dumps(answer).encode()

    def log(self, namespace: str, run: str, *, follow: bool) -> Iterator[bytes]:
        """As GET /v1/logs/<run>."""
        query = urlencode({"namespace": namespace} | ({"follow": "true"} if follow else {}))
        answer = self._ask_controller(f"/v1/logs/{quote(run, safe='')}?{query}", endless=follow)
        yield from answer.pieces()
        if said := answer.headers.get(headers.NOTE):
            note(said)

    def cronjob(self, namespace: str, name: str) -> Object:
        """A CronJob, for `import`."""
        found: Object = self._api.get(Path("batch", "v1", "cronjobs", namespace, name))
        return found

    # Requests

    def act(self, verb: str, body: Mapping[str, Any]) -> Any:
        """As POST /v1/verbs/<verb>."""
        namespace = body["namespace"]
        if not namespace:
            raise InvalidInput("a namespace is needed: this verb is about one thing (-n NAMESPACE)")
        match verb:
            case "trigger":
                return self._trigger(namespace, body)
            case "approve" | "reject":
                return self._decide(namespace, body, "Approved" if verb == "approve" else "Rejected")
            case "hold":
                return self._hold(namespace, body)
            case "release":
                return self._release(namespace, body["name"])
            case "cancel":
                return self._cancel(namespace, body)
            case "reconcile":
                return self._reconcile(namespace, body.get("name"))
        raise NotFound(f"there is no verb {verb!r} for a cluster")

    def _trigger(self, namespace: str, body: Mapping[str, Any]) -> Object:
        name = body["name"]
        with contextlib.suppress(Forbidden):  # who may ask for a run need not be allowed to look
            self._job(namespace, name)
        asked = {"parameters": body["parameters"] or None} | {
            field: body.get(field) for field in ("scheduledFor", "proofFrom")
        }
        spec = {"jobRef": {"name": name}, **asked, "idempotencyKey": body.get("key"), "requestedBy": self._api.who()}
        document = {
            "apiVersion": API_VERSION,
            "kind": "RunRequest",
            "metadata": {"generateName": f"{name}-", "namespace": namespace},
            "spec": {key: value for key, value in spec.items() if value is not None},
        }
        return _shown(self._api.create(_path(KINDS["RunRequest"], namespace), document))

    def _decide(self, namespace: str, body: Mapping[str, Any], decision: str) -> Object:
        approval = self._approval(namespace, body["name"])
        me = self._api.who()
        answer = {"decision": decision, **({"reason": body["reason"]} if body.get("reason") else {})}
        path = _path(KINDS["Approval"], namespace, approval["metadata"]["name"])
        return _shown(self._api.merge(path, {"spec": {"decisions": {me: answer}}}))

    def _approval(self, namespace: str, name: str) -> Object:
        """The approval of that name, or the one open one of the job of that name."""
        try:
            found: Object = self._api.get(_path(KINDS["Approval"], namespace, name))
        except NotFound:
            of_job = self._listed("approvals", {"namespace": namespace, "job": name})
            waiting = [one for one in of_job if one.get("status", {}).get("state", "Pending") == "Pending"]
            if len(waiting) == 1:
                return waiting[0]
            names = ", ".join(one["metadata"]["name"] for one in waiting)
            if names:
                raise Conflict(f"several decisions of the job {name!r} are open, name one of them: {names}") from None
            raise
        return found

    def _hold(self, namespace: str, body: Mapping[str, Any]) -> Object:
        until = body.get("until")
        self._annotate(namespace, body["name"], "hold", f"{body['reason']} until {until}" if until else body["reason"])
        held = {"reason": body["reason"], "until": until}
        return _about(namespace, body["name"], {"hold": held, "nextRunAt": None})

    def _release(self, namespace: str, name: str) -> Object:
        job = self._job(namespace, name)
        if f"{_ANNOTATION}hold" not in (job["metadata"].get("annotations") or {}):
            error = Conflict(f"{namespace}/{name} is not held by an annotation")
            error.add_note(f"`jobwarden describe job {name}` says whether it is held in another way")
            raise error
        self._annotate(namespace, name, "hold", None)
        return _about(namespace, name, {"hold": None, "nextRunAt": (job.get("status") or {}).get("nextRunAt")})

    def _cancel(self, namespace: str, body: Mapping[str, Any]) -> Object:
        if body.get("root") is not None:
            error = InvalidInput("a chain cannot be cancelled through the API server")
            error.add_note("cancel what runs, job by job: `jobwarden cancel JOB`")
            raise error
        job = self._cancelled_job(namespace, body["name"])
        name = job["metadata"]["name"]
        self._annotate(namespace, name, "cancel-requested-at", rfc3339(datetime.now(UTC)))
        runs = [_about(namespace, run, {}, "Run") for run in _active(job)]
        return {"apiVersion": API_VERSION, "kind": "RunList", "items": runs}

    def _cancelled_job(self, namespace: str, name: str) -> Object:
        """The job of that name, or the one whose only work is the run of that name: the annotation cancels all that a job has."""
        try:
            return self._job(namespace, name)
        except NotFound:
            job_name, dash, _ = name.rpartition("-")
            if not dash:
                raise
        job = self._job(namespace, job_name)
        active = _active(job)
        if name not in active:
            raise NotFound(f"the job {job_name!r} has no open run {name!r}, as far as its status tells")
        if len(active) > 1 or job["status"].get("queued"):
            error = Conflict(f"the job {job_name!r} has other work too, which would be cancelled with {name!r}")
            error.add_note(f"`jobwarden cancel {job_name}` cancels everything of it that runs or waits")
            raise error
        return job

    def _reconcile(self, namespace: str, name: str | None) -> Object:
        if name is None:
            raise InvalidInput("name the job that is to be read again; the controller watches the others by itself")
        self._annotate(namespace, name, "reconcile-requested-at", rfc3339(datetime.now(UTC)))
        return {"sources": ["kubernetes"]}

    def _annotate(self, namespace: str, name: str, key: str, value: str | None) -> None:
        path = _path(KINDS["ScheduledJob"], namespace, name)
        self._api.merge(path, {"metadata": {"annotations": {f"{_ANNOTATION}{key}": value}}})

    # Objects

    def _job(self, namespace: str, name: str) -> Object:
        found: Object = self._api.get(_path(KINDS["ScheduledJob"], namespace, name))
        return found

    def _objects(self, noun: str, parameters: Mapping[str, str]) -> Object:
        name = parameters.get("name")
        found = [_shown(one) for one in self._listed(noun, parameters)]
        if name is not None and not found:
            raise NotFound(
                f"there is no {noun.removesuffix('s')} {name!r} in the namespace {parameters['namespace']!r}"
            )
        if name is not None and len(found) == 1:
            return found[0]
        return {"apiVersion": API_VERSION, "kind": f"{_KINDS[noun][0].name}List", "items": found}

    def _listed(self, noun: str, parameters: Mapping[str, str]) -> list[Object]:
        found: list[Object] = []
        for kind in _KINDS[noun]:
            answer = self._asked(kind, parameters, table=False)
            # Items of a list say less than an object by itself.
            found += [{"apiVersion": API_VERSION, "kind": kind.name, **one} for one in (answer or {}).get("items", [])]
        return found

    def _table(self, noun: str, parameters: Mapping[str, str]) -> Object:
        """The server's own columns, so that kubectl and we show the same."""
        several, everywhere = len(_KINDS[noun]) > 1, not parameters["namespace"]
        columns: list[str] = []
        rows = []
        for kind in _KINDS[noun]:
            table = self._asked(kind, parameters, table=True)
            if table is None:
                continue
            wide = "wide" in parameters
            chosen = [i for i, one in enumerate(table["columnDefinitions"]) if wide or not one.get("priority")]
            columns = [table["columnDefinitions"][index]["name"].upper() for index in chosen]
            for row in table["rows"] or []:
                cells = [_cell(row["cells"][index]) for index in chosen]
                if several:
                    cells.insert(1, kind.name)
                place = row["object"]["metadata"].get("namespace", NONE)
                rows.append([place, *cells] if everywhere else cells)
        if several:
            columns.insert(1, "KIND")
        if not rows and (name := parameters.get("name")) is not None:
            raise NotFound(
                f"there is no {noun.removesuffix('s')} {name!r} in the namespace {parameters['namespace']!r}"
            )
        named = ["NAMESPACE", *columns] if everywhere else columns
        return {"columns": named, "volatile": [one for one in ("AGE",) if one in named], "rows": rows}

    def _asked(self, kind: Kind, parameters: Mapping[str, str], *, table: bool) -> Any:
        """A list of one kind; None for a kind of the whole cluster that this person may not see, beside one that they may."""
        fields = {"metadata.name": parameters.get("name"), "spec.jobRef.name": parameters.get("job")}
        query = {
            "labelSelector": parameters.get("selector"),
            "fieldSelector": ",".join(f"{field}={value}" for field, value in fields.items() if value),
        }
        path = _path(kind, parameters["namespace"])
        ask = self._api.table if table else self._api.get
        try:
            return ask(path, **{key: value for key, value in query.items() if value})
        except Forbidden as error:
            if kind.namespaced:
                raise
            note(f"{kind.plural} are not shown: {error}")
            return None

    def _described(self, noun: str, parameters: Mapping[str, str]) -> Object:
        found = self._objects(noun, {key: parameters[key] for key in ("namespace", "name")})
        if "items" in found:
            raise InvalidInput(f"several have the name {parameters['name']!r}: say which with -n NAMESPACE")
        # A copy of the rest, for kubectl alone.
        (found["metadata"].get("annotations") or {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
        return {**found, "about": {"events": self._events(found)}}

    def _events(self, of: Object) -> list[Object]:
        """What was told of an object, oldest first; nothing where this person may not see it."""
        metadata = of["metadata"]
        query = f"involvedObject.kind={of['kind']},involvedObject.name={metadata['name']}"
        try:
            found = self._api.get(Path("", "v1", "events", metadata.get("namespace", "default")), fieldSelector=query)
        except Forbidden:
            return []
        shown = [
            {
                "at": one.get("lastTimestamp") or one.get("eventTime") or one["metadata"]["creationTimestamp"],
                "type": one.get("type", ""),
                "reason": one.get("reason", ""),
                "message": one.get("message", ""),
            }
            for one in found["items"]
        ]
        return sorted(shown, key=lambda one: str(one["at"]))

    def _outcome(self, namespace: str, request: str) -> Object:
        """Where a RunRequest has come to, as the view `outcome` tells it of a dispatch."""
        found = self._api.get(_path(KINDS["RunRequest"], namespace, request))
        status = found.get("status") or {}
        conditions = {one["type"]: one for one in status.get("conditions") or []}
        finished = conditions.get("Finished", {})
        state, ended = finished.get("reason", "Pending"), finished.get("status") == "True"
        told = conditions.get("Accepted", {}) if state == "Refused" or not finished else finished
        # Skipped in favour of the run that has the same idempotency key.
        met = state == "Succeeded" or (state == "Skipped" and "runName" in status)
        return {
            "dispatch": request,
            "run": status.get("runName"),
            "ended": ended,
            "state": state,
            "reason": told.get("reason"),
            "message": told.get("message"),
            "succeeded": ended and met,
        }

    # The controller

    def _ask_controller(self, path: str, *, endless: bool = False) -> Any:
        """An answer from behind the controller's Service. Errors: ControllerUnreachable, Forbidden, and what the controller raises."""
        service, secret = self._service()
        credentials = {headers.TOKEN: self._token(secret)}
        proxy = Path("", "v1", "services", self._home, f"http:{service}:{_PORT}")
        answer = self._api.proxied(proxy, path, credentials, endless=endless)
        if answer.code >= 400:
            body = answer.whole()
            raise_said(body)
            refused(answer.code, body, Path("", "v1", "services/proxy", self._home, service), "get")
        return answer

    def _service(self) -> tuple[str, str]:
        """Name of the controller's Service, and of the Secret that lets one read behind it."""
        try:
            found = self._api.get(Path("", "v1", "services", self._home), labelSelector=_LABEL)["items"]
        except Forbidden:
            # Who may use the proxy need not be allowed to list; the chart's own name is as good.
            return NAMESPACE, f"{NAMESPACE}-history"
        serving = [one for one in found if any(port.get("name") == _PORT for port in one["spec"].get("ports", []))]
        if len(serving) != 1:
            names = ", ".join(one["metadata"]["name"] for one in serving)
            words = f"several Services serve history there: {names}" if names else "no Service serves history there"
            error = ControllerUnreachable(f"the controller cannot be found in the namespace {self._home!r}: {words}")
            error.add_note(
                f"--controller-namespace says where it lives; its Service is labelled {_LABEL} and has a port named {_PORT}"
            )
            raise error
        metadata = serving[0]["metadata"]
        named = (metadata.get("annotations") or {}).get(_SECRET) or f"{metadata['name']}-history"
        return metadata["name"], named

    def _token(self, secret: str) -> str:
        found = self._api.get(Path("", "v1", "secrets", self._home, secret))
        try:
            return base64.b64decode(found["data"]["token"]).decode("ascii").strip()
        except (KeyError, TypeError, ValueError) as error:
            raise ControllerUnreachable(f"the Secret {self._home}/{secret} has no usable key 'token'") from error


def _path(kind: Kind, namespace: str, name: str = "") -> Path:
    return Path(GROUP, VERSION, kind.plural, namespace if kind.namespaced else "", name)


def _shown(thing: Object) -> Object:
    """Without what only field managers read."""
    metadata = {key: value for key, value in thing["metadata"].items() if key != "managedFields"}
    return {**thing, "metadata": metadata}


def _about(namespace: str, name: str, status: Object, kind: str = "ScheduledJob") -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "status": status}


def _active(job: Object) -> list[str]:
    return [one["name"] for one in (job.get("status") or {}).get("activeRuns") or []]


def _cell(value: Any) -> str:
    return NONE if value is None or value == "" else str(value)
