"""Objects of our kinds: listing them whole, writing their status with server-side apply, making and removing those that are ours to make and remove.

Everything that the API server answers becomes one of two things: an answer, or `ApiFailed` with what to do about it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.core.resource import Resource
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType

from controller.base.errors import JobwardenError
from controller.kinds.catalog import GROUP, KINDS, VERSION, Kind

STATUS_MANAGER = "jobwarden-status"
MANAGER = "jobwarden"
_CHUNK = 500


class ApiFailed(JobwardenError):
    """The API server did not do it. `code` is HTTP's, 0 when there was no answer; `retry_after` in seconds, where it said so."""

    def __init__(self, message: str, code: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether it may well work later, without anybody changing anything: also where the API server does not know us for now (401), as tokens are renewed, and
        one whose Pod was deleted under it will end soon and is no judge of its runs.
        """
        return self.code in (0, 401, 408, 409, 429) or self.code >= 500


def _resource(kind: Kind) -> type[Resource]:
    make = create_namespaced_resource if kind.namespaced else create_global_resource
    return cast(type[Resource], make(GROUP, VERSION, kind.name, kind.plural))


_RESOURCES = {name: _resource(kind) for name, kind in KINDS.items()}
_ADMISSION: dict[str, Any] = {
    kind: create_global_resource("admissionregistration.k8s.io", "v1", kind, plural)
    for kind, plural in (
        ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
        ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    )
}


class Objects:
    """What we ask of one API server."""

    def __init__(self, client: AsyncClient, namespaces: Sequence[str] = ()) -> None:
        """No namespaces: all of them."""
        # Its overloads want to know at every call whether a kind has namespaces; we look that up.
        self._client: Any = client
        self._namespaces = tuple(namespaces)

    async def all_of(self, kind: str) -> tuple[list[Mapping[str, Any]], int]:
        """Every object of a kind, in pages, and the resource version that the list is of. Errors: ApiFailed."""
        known = KINDS[kind]
        places: Sequence[str | None] = self._namespaces if known.namespaced and self._namespaces else (None,)
        found: list[Mapping[str, Any]] = []
        version = 0
        for place in places:
            items, listed = await self._list(kind, place)
            found += items
            # Of several lists the oldest counts: what is newer may be in one and not yet in another.
            version = min(version, listed) if version else listed
        return found, version

    async def apply_status(self, kind: str, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> int:
        """Make `status` what we say of the object with this uid; gives the version that has it. Errors: ApiFailed, 404 when it is gone, 409 when it is another one by now."""
        resource: Any = _RESOURCES[kind]
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kind,
            "metadata": {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})},
            "status": status,
        }
        place = {"namespace": namespace} if namespace else {}
        written = await answered(
            self._client.patch(
                resource.Status,
                name,
                resource.Status(body),
                patch_type=PatchType.APPLY,
                field_manager=STATUS_MANAGER,
                force=True,
                **place,
            )
        )
        return int(written.metadata.resourceVersion)

    async def create(self, body: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        """Make an object of ours in its namespace; gives it as it is then. Errors: ApiFailed, 409 when there is one of that name."""
        resource: Any = _RESOURCES[body["kind"]]
        place = body["metadata"]["namespace"]
        made: Mapping[str, Any] = await answered(
            self._client.create(resource(body), namespace=place, field_manager=MANAGER, dry_run=dry_run)
        )
        return made

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Remove the object with this uid, and no other one of that name. Errors: ApiFailed, 404 when it is gone, 409 when it is another one by now."""
        # lightkube's own `delete` has no preconditions.
        low: Any = self._client._client  # noqa: SLF001
        asked = low.prepare_request("delete", _RESOURCES[kind], name=name, namespace=namespace)
        asked.data = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}

        async def send() -> None:
            low.raise_for_status(await low.send(low.build_adapter_request(asked)))

        await answered(send())

    async def admission(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """A ValidatingAdmissionPolicy or its binding; None when there is none, or when the server knows of no such thing. Errors: ApiFailed."""
        try:
            found: Mapping[str, Any] = await answered(self._client.get(_ADMISSION[kind], name))
        except ApiFailed as error:
            if error.code == 404:
                return None
            raise
        return found

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _list(self, kind: str, namespace: str | None) -> tuple[list[Mapping[str, Any]], int]:
        place = {"namespace": namespace or "*"} if KINDS[kind].namespaced else {}
        listing: Any = self._client.list(_RESOURCES[kind], chunk_size=_CHUNK, **place)

        async def read() -> list[Mapping[str, Any]]:
            return [item async for item in listing]

        items = await answered(read())
        return items, int(listing.resourceVersion or 0)


async def answered(asked: Any) -> Any:
    """What the API server gives. Errors: ApiFailed, whatever went wrong on the way."""
    try:
        return await asked
    except httpx2.HTTPStatusError as error:
        # A path that the server does not know at all is answered with text, everything else with a Status.
        words = error.status.message if isinstance(error, ApiError) else error.response.text.strip()
        wait, code = error.response.headers.get("Retry-After", ""), error.response.status_code
        raise ApiFailed(
            f"the API server answered {code}: {words}", code, float(wait) if wait.isdigit() else None
        ) from error
    except (TimeoutError, httpx2.HTTPError, OSError) as error:
        raise ApiFailed(f"the API server cannot be reached: {str(error) or type(error).__name__}") from error
