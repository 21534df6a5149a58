"""What a Pod template asks for beyond what every Pod of a job may have, and what the controller's settings say to it.

Reconcile asks when a document is read, and the launch of a run asks again. Invariant: pure; what cannot be read as a template asks for nothing that the API server
would grant.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from controller.domain.job import JobSpec, PodTarget
from controller.domain.resolve import Defaults, PodsAllow

_HARMLESS = frozenset({"NET_BIND_SERVICE"})
_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_ACCOUNTS = ("serviceAccountName", "serviceAccount")


class Demand(msgspec.Struct, frozen=True):
    """One thing that is not allowed: where in the template (JSON pointer below it), what it is, and the setting that would allow it."""

    pointer: str
    message: str
    setting: str


def demands(template: Mapping[str, Any], allow: PodsAllow) -> Iterator[Demand]:
    """What the template asks for and must not have. Pure. Source: the profile "baseline" of the Pod Security Standards."""
    body = _mapping(template.get("spec"))
    if not allow.host_namespaces:
        for field in _NAMESPACES:
            if body.get(field):
                yield Demand(f"/spec/{field}", f"{field} shares a namespace of the node", "hostNamespaces")
    for field in _ACCOUNTS:
        name = body.get(field)
        if name and name not in allow.service_accounts:
            yield Demand(f"/spec/{field}", f"the service account {name} is not allowed to jobs", "serviceAccounts")
    if not allow.host_paths:
        for index, volume in enumerate(_list(body.get("volumes"))):
            if "hostPath" in volume:
                yield Demand(f"/spec/volumes/{index}/hostPath", "the volume is a folder of the node", "hostPaths")
    if not allow.privileged:
        for kind in _CONTAINERS:
            for index, container in enumerate(_list(body.get(kind))):
                yield from _privileges(container, f"/spec/{kind}/{index}")


def refusal(spec: JobSpec, settings: Defaults) -> str | None:
    """Why a run of this job must not start where it would, None if it may; settings may have changed since its document was read. Pure."""
    if settings.executors and spec.executor not in settings.executors:
        return f"this controller does not run jobs with the executor {spec.executor}; add it to settings.executors, or change the job"
    if isinstance(spec.target, PodTarget):
        found = next(demands(spec.target.template, settings.pods), None)
        if found is not None:
            return f"{found.message}, which settings.pods.allow.{found.setting} of the controller does not allow"
    return None


def _privileges(container: Mapping[str, Any], pointer: str) -> Iterator[Demand]:
    context = _mapping(container.get("securityContext"))
    at = f"{pointer}/securityContext"
    if context.get("privileged"):
        yield Demand(f"{at}/privileged", "the container is privileged", "privileged")
    added = _mapping(context.get("capabilities")).get("add")
    if extra := [name for name in added or () if name not in _HARMLESS]:
        yield Demand(
            f"{at}/capabilities/add", f"the container adds capabilities: {', '.join(map(str, extra))}", "privileged"
        )
    if context.get("procMount", "Default") != "Default":
        yield Demand(f"{at}/procMount", "the container sees the node's /proc", "privileged")
    if any("hostPort" in port for port in _list(container.get("ports"))):
        yield Demand(f"{pointer}/ports", "the container takes a port of the node", "hostNamespaces")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
