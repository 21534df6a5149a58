"""An API server as a person asks it: requests of one command, with that person's own rights, one after the other.

The verbs' cluster backend uses it. Invariant: everything that goes wrong is an error of `controller.base.errors`, and a refusal says which right is missing.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import httpx2
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from controller.base.errors import Conflict, ControllerUnreachable, Forbidden, InvalidInput, NotFound, SourceUnavailable
from controller.kubernetes import kubeconfig

MERGE = "application/merge-patch+json"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch"}
_PAGE = 500


class Path:
    """Where a resource lives. `group` is "" for the core; `namespace` "" is all of them, or none for kinds that have none."""

    def __init__(self, group: str, version: str, plural: str, namespace: str = "", name: str = "") -> None:
        self.group, self.plural, self.namespace, self.name = group, plural, namespace, name
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        self.text = f"{root}{place}/{plural}{'/' + quote(name, safe='') if name else ''}"

    def __str__(self) -> str:
        """For people: what, and where."""
        what = f"{self.plural}.{self.group}" if self.group else self.plural
        where = f" in the namespace {self.namespace!r}" if self.namespace else ""
        return f"{what}{f' {self.name!r}' if self.name else ''}{where}"


class Api:
    """One API server and one person. Errors of all methods: NotFound, Conflict, Forbidden, InvalidInput, ControllerUnreachable."""

    def __init__(self, context: str | None = None, timeout: float = 60.0) -> None:
        """Errors: InvalidInput where none can be found."""
        config = kubeconfig.find(context)
        self.namespace: str = config.namespace
        self.server: str = config.cluster.server
        # It logs every request.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        try:
            # Proxies and certificates of the environment are for other servers than this one.
            parameters = ConnectionParams(timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)), trust_env=False)
            self._client: Any = Client(_with_token(config), parameters)
        except (OSError, ValueError, ConfigError) as error:
            raise InvalidInput(f"the connection to {config.cluster.server} cannot be made: {error}") from error

    def get(self, path: Path, **query: str) -> Any:
        """One object, or a list whole, page after page."""
        found = self._json("GET", path, query=query)
        while following := (found.get("metadata") or {}).get("continue"):
            more = self._json("GET", path, query={**query, "continue": following})
            key = "rows" if found.get("kind") == "Table" else "items"
            found[key] += more[key]
            found["metadata"] = more["metadata"]
        return found

    def table(self, path: Path, **query: str) -> Any:
        """A list as the server would print it: `columnDefinitions` and `rows`."""
        return self.get(path, **query, accept=_TABLE)

    def create(self, path: Path, body: Mapping[str, Any]) -> Any:
        """A new object; gives it as it was stored."""
        return self._json("POST", path, body=body)

    def merge(self, path: Path, change: Mapping[str, Any]) -> Any:
        """Change an object by a JSON merge patch; gives it as it is then. Source: RFC 7386."""
        return self._json("PATCH", path, query={"fieldManager": "jobwarden"}, body=change, kind=MERGE)

    def who(self) -> str:
        """The name by which the server knows us. Source: SelfSubjectReview."""
        path = Path("authentication.k8s.io", "v1", "selfsubjectreviews")
        review = self.create(path, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        return str(review["status"]["userInfo"]["username"])

    def proxied(self, path: Path, below: str, headers: Mapping[str, str], *, endless: bool = False) -> "Answer":
        """GET something from behind a Service, as it is; `endless` answers may be silent for long."""
        timeout = httpx2.Timeout(None, connect=10.0) if endless else self._client.timeout
        request = self._client.build_request("GET", f"{path.text}/proxy{below}", headers=headers, timeout=timeout)
        return Answer(self._sent(request, stream=True), path)

    def _json(
        self,
        method: str,
        path: Path,
        *,
        query: Mapping[str, str] = {},
        body: Any = None,
        kind: str = "application/json",
    ) -> Any:
        asked = dict(query)
        headers = {"Accept": asked.pop("accept", "application/json"), "Content-Type": kind}
        if method == "GET" and not path.name:
            asked["limit"] = str(_PAGE)
        content = None if body is None else json.dumps(body).encode()
        answer = self._sent(
            self._client.build_request(method, path.text, params=asked, headers=headers, content=content)
        )
        if answer.status_code >= 400:
            verb = "list" if method == "GET" and not path.name else _VERBS[method]
            refused(answer.status_code, answer.content, path, verb)
        return json.loads(answer.content)

    def _sent(self, request: Any, *, stream: bool = False) -> Any:
        try:
            return self._client.send(request, stream=stream)
        except (httpx2.HTTPError, OSError, ConfigError) as error:
            raise _unreachable(f"{self.server}: {str(error) or type(error).__name__}") from error


class Answer:
    """What came from behind a Service: a status, headers, and a body in pieces."""

    def __init__(self, response: Any, path: Path) -> None:
        self._response, self._path = response, path
        self.code: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def whole(self) -> bytes:
        """The body at once."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives."""
        try:
            yield from self._response.iter_raw()
        except (httpx2.HTTPError, OSError) as error:
            raise _unreachable(f"the answer of {self._path} broke off: {error}") from error
        finally:
            self._response.close()


def refused(code: int, body: bytes, path: Path, verb: str) -> NoReturn:
    """Raise what an error of the API server means."""
    words = _words(body) or f"it answered {code}"
    if code == 404:
        raise _missing(path, words)
    if code in (401, 403):
        raise _forbidden(code, words, path, verb)
    if code == 409:
        raise Conflict(words)
    if code in (400, 413, 422):
        raise InvalidInput(words)
    raise _unreachable(words)


def _words(body: bytes) -> str:
    try:
        said = json.loads(body)
        return str(said["message"]) if said.get("kind") == "Status" else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:300].decode("utf-8", "replace").strip()


def _missing(path: Path, words: str) -> NotFound:
    if path.name:
        return NotFound(f"there is no {path}")
    error = NotFound(f"the cluster does not know {path.plural}: {words}")
    error.add_note("install them with `kubectl apply --server-side -f crds/`")
    return error


def _forbidden(code: int, words: str, path: Path, verb: str) -> Forbidden:
    if code == 401:
        error = Forbidden(f"the API server does not know who you are: {words}")
        error.add_note("renew the credentials of your kubeconfig; `kubectl auth whoami` shows who you are")
        return error
    error = Forbidden(words)
    if " cannot " in words:  # RBAC's word; what a policy says stands for itself
        where = f" in the namespace {path.namespace!r}" if path.namespace else " in the whole cluster"
        group = "apiGroups: [{}], ".format(path.group or '""')
        error.add_note(f"missing is a role with {{{group}resources: [{path.plural}], verbs: [{verb}]}}{where}")
    return error


def _unreachable(why: str) -> ControllerUnreachable:
    return ControllerUnreachable(f"the API server cannot be asked: {why}")


def _with_token(config: SingleConfig) -> SingleConfig:
    """The same, a credential plug-in asked: lightkube knows none of version v1."""
    user = config.user
    if user is None or user.exec is None or user.token is not None:
        return config
    try:
        token, _ = kubeconfig.token_of(user.exec)
    except SourceUnavailable as error:
        raise Forbidden(str(error)) from error
    return config._replace(user=type(user)(token=token, client_cert=user.client_cert, client_key=user.client_key))
