"""What we ask of an API server about Jobs and Pods: make, release, list, watch, read the log, delete.

`executor` asks; objects are plain JSON both ways. Everything that goes wrong is `ApiFailed`. Invariant: nothing is changed but Jobs and Secrets that carry our labels; a NetworkPolicy
is made, and never changed.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import httpx2
import msgspec

from controller.kubernetes.objects import ApiFailed, answered
from controller.kubernetes.podspec import SELECTOR

Object = Mapping[str, Any]

MANAGER = "jobwarden-pods"
KINDS = {"Job": "/apis/batch/v1", "Pod": "/api/v1"}
_PLURALS = {"Job": "jobs", "Pod": "pods"}
_CHUNK = 500
_WATCH_SECONDS = 300
_SILENCE = 90.0
"""Seconds: bookmarks come every minute, so a watch without a word for longer is deaf."""
_LOG_SILENCE = None
_CONNECT = 30.0
_decode = msgspec.json.Decoder().decode


class Workloads:
    """Jobs, Pods and Secrets of one API server. No namespaces: all of them."""

    def __init__(self, http: httpx2.AsyncClient, namespaces: Sequence[str] = ()) -> None:
        self._http = http
        self.places: tuple[str, ...] = tuple(namespaces) or ("",)

    async def create_job(self, manifest: Object) -> Object:
        """Make it, strictly: an unknown field is an error. Errors: ApiFailed, 409 when there is one of this name."""
        namespace = manifest["metadata"]["namespace"]
        made: Object = await self._send(
            "POST",
            f"/apis/batch/v1/namespaces/{namespace}/jobs",
            manifest,
            {"fieldManager": MANAGER, "fieldValidation": "Strict"},
        )
        return made

    async def try_job(self, manifest: Object) -> None:
        """Ask whether it could be made. Errors: ApiFailed, 400 and 422 with what is wrong with it."""
        namespace = manifest["metadata"]["namespace"]
        parameters = {"fieldManager": MANAGER, "fieldValidation": "Strict", "dryRun": "All"}
        await self._send("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", manifest, parameters)

    async def create_secret(self, manifest: Object) -> None:
        """Make it. Errors: ApiFailed, 409 when there is one of this name."""
        namespace = manifest["metadata"]["namespace"]
        await self._send("POST", f"/api/v1/namespaces/{namespace}/secrets", manifest, {"fieldManager": MANAGER})

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Remove it; one that is gone is fine. Errors: ApiFailed."""
        await self._delete(f"/api/v1/namespaces/{namespace}/secrets/{name}", None)

    async def create_network_policy(self, manifest: Object) -> Object:
        """Make it. Errors: ApiFailed, 409 when there is one of this name."""
        made: Object = await self._send(
            "POST", _policies(manifest["metadata"]["namespace"]), manifest, {"fieldManager": MANAGER}
        )
        return made

    async def network_policies(self, namespace: str) -> list[Object]:
        """All of a namespace. Errors: ApiFailed."""
        answer = await self._send("GET", _policies(namespace))
        return list(answer["items"])

    async def job(self, namespace: str, name: str) -> Object | None:
        """One Job, None if there is none. Errors: ApiFailed."""
        try:
            found: Object = await self._send("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
        except ApiFailed as error:
            if error.code == 404:
                return None
            raise
        return found

    async def pods(self, namespace: str, selector: str) -> list[Object]:
        """The Pods that a selector names. Errors: ApiFailed."""
        answer = await self._send("GET", f"/api/v1/namespaces/{namespace}/pods", parameters={"labelSelector": selector})
        return list(answer["items"])

    async def resume(self, namespace: str, name: str) -> None:
        """Let a suspended Job begin. Errors: ApiFailed."""
        await self._send(
            "PATCH",
            f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}",
            {"spec": {"suspend": False}},
            {"fieldManager": MANAGER},
        )

    async def delete_job(self, namespace: str, name: str, uid: str | None = None) -> None:
        """Remove it with its Pod, which gets its grace; one that is gone, or another one by now, is fine. Errors: ApiFailed."""
        preconditions = {"preconditions": {"uid": uid}} if uid else {}
        body = {"propagationPolicy": "Background", **preconditions}
        await self._delete(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}", body)

    async def troubles(self, namespace: str, job: str) -> list[str]:
        """What Kubernetes says went wrong with a Job, newest last; nothing where we may not read it."""
        selector = f"involvedObject.kind=Job,involvedObject.name={job},type=Warning"
        try:
            answer = await self._send(
                "GET", f"/api/v1/namespaces/{namespace}/events", parameters={"fieldSelector": selector}
            )
        except ApiFailed:
            return []
        return [f"{one.get('reason')}: {one.get('message')}" for one in answer["items"]]

    async def list(self, kind: str, namespace: str) -> tuple[list[Object], str]:
        """All of ours of a kind in a namespace ("": in all), and the version that this is. Errors: ApiFailed."""
        found: list[Object] = []
        parameters = {"labelSelector": SELECTOR, "limit": str(_CHUNK)}
        while True:
            answer = await self._send("GET", _collection(kind, namespace), parameters=parameters)
            found += answer["items"]
            following = answer["metadata"].get("continue")
            if not following:
                return found, answer["metadata"]["resourceVersion"]
            parameters["continue"] = following

    async def watch(self, kind: str, namespace: str, version: str) -> AsyncGenerator[tuple[str, Object], None]:
        """What changes after `version`, bookmarks included, until the server ends it. Errors: ApiFailed, 410 when that is too long ago."""
        parameters = {
            "labelSelector": SELECTOR,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        async for line in self._lines(_collection(kind, namespace), parameters):
            event = _understood(line)
            if event["type"] == "ERROR":
                said = event["object"]
                raise ApiFailed(f"the watch was ended: {said.get('message')}", said.get("code", 0))
            yield event["type"], event["object"]

    async def log(
        self, namespace: str, pod: str, container: str, since: str | None, *, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        """What a container printed, as it comes, each line after its time; from `since` (RFC 3339) on. Errors: ApiFailed."""
        parameters = {"container": container, "timestamps": "true", "follow": str(follow).lower()}
        if since is not None:
            parameters["sinceTime"] = since
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        async for piece in self._stream(path, parameters, _LOG_SILENCE):
            yield piece

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def _delete(self, path: str, body: Object | None) -> None:
        try:
            await self._send("DELETE", path, body)
        except ApiFailed as error:
            if error.code not in (404, 409):
                raise

    async def _send(
        self, method: str, path: str, body: Object | None = None, parameters: Mapping[str, str] | None = None
    ) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"

        async def ask() -> Any:
            response = await self._http.request(
                method,
                path,
                params=parameters,
                content=json.dumps(body).encode() if body is not None else None,
                headers={"Content-Type": kind, "Accept": "application/json"},
            )
            _check(response)
            return response.content

        return _understood(await answered(ask()))

    async def _lines(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        rest = b""
        async for piece in self._stream(path, parameters, _SILENCE):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line

    async def _stream(
        self, path: str, parameters: Mapping[str, str], silence: float | None
    ) -> AsyncGenerator[bytes, None]:
        request = self._http.build_request(
            "GET",
            path,
            params=parameters,
            # Its pieces are taken as they come.
            headers={"Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(_CONNECT, read=silence),
        )
        response = await answered(self._http.send(request, stream=True))
        try:
            if response.is_error:
                await answered(response.aread())
                _check_answered(response)
            pieces = response.aiter_raw()
            while (piece := await answered(anext(pieces, None))) is not None:
                yield piece
        finally:
            await response.aclose()


def _collection(kind: str, namespace: str) -> str:
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{KINDS[kind]}{inside}/{_PLURALS[kind]}"


def _policies(namespace: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"


def _understood(content: bytes) -> Any:
    """Errors: ApiFailed for what an API server does not say; something in between may."""
    try:
        return _decode(content)
    except msgspec.DecodeError as error:
        raise ApiFailed(f"the API server answered something that is not JSON: {error}") from error


def _check(response: httpx2.Response) -> None:
    """Errors: ApiFailed with the server's own words."""
    if response.is_error:
        _check_answered(response)


def _check_answered(response: httpx2.Response) -> None:
    try:
        words = _decode(response.content)["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        words = response.text.strip()
    wait = response.headers.get("Retry-After", "")
    raise ApiFailed(
        f"the API server answered {response.status_code}: {words}",
        response.status_code,
        float(wait) if wait.isdigit() else None,
    )
