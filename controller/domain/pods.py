"""What a Pod template asks for beyond what every Pod of a job may have, and what the controller's settings say to it.

Reconcile asks when a document is read, and the launch of a run asks again. Invariant: pure, and never an exception, whatever shape a template has; what cannot be read
as a template asks for nothing that the API server would grant.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from controller.domain.job import ExecutorKind, JobSpec, PodTarget
from controller.domain.resolve import Defaults, PodsAllow

_HARMLESS = frozenset({"NET_BIND_SERVICE"})
_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_ACCOUNTS = ("serviceAccountName", "serviceAccount")
_NO_ACCOUNT = "default"
_IDENTITIES = ("serviceAccountToken", "podCertificate")
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    }
)
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")


class Demand(msgspec.Struct, frozen=True):
    """One thing that is not allowed: where in the template (JSON pointer below it), what it is, and the setting that would allow it."""

    pointer: str
    message: str
    setting: str


def demands(template: Mapping[str, Any], allow: PodsAllow) -> Iterator[Demand]:
    """What the template asks for and must not have. Pure. Source: the profile "baseline" of the Pod Security Standards, and tokens of service accounts."""
    body = mapping(template.get("spec"))
    if not allow.host_namespaces:
        yield from _shared(body)
    yield from _accounts(body, allow)
    if not allow.host_paths:
        for index, volume in enumerate(items(body.get("volumes"))):
            if "hostPath" in volume:
                yield Demand(f"/spec/volumes/{index}/hostPath", "the volume is a folder of the node", "hostPaths")
    if not allow.privileged:
        yield from _privileges(mapping(template.get("metadata")), body)


def is_looked_after(namespace: str, settings: Defaults) -> bool:
    """Whether Pods in this namespace are watched. Pure."""
    return not settings.pod_namespaces or namespace in settings.pod_namespaces


def refusal(spec: JobSpec, namespace: str, settings: Defaults) -> str | None:
    """Why a run of this job must not start where it would, None if it may; settings may have changed since its document was read. Pure."""
    if settings.executors and spec.executor not in settings.executors:
        return f"this controller does not run jobs with the executor {spec.executor}; add it to settings.executors, or change the job"
    if spec.executor is ExecutorKind.Kubernetes and not is_looked_after(namespace, settings):
        return f"this controller looks after no Pods in the namespace {namespace}"
    if isinstance(spec.target, PodTarget):
        found = next(demands(spec.target.template, settings.pods), None)
        if found is not None:
            return f"{found.message}, which settings.pods.allow.{found.setting} of the controller does not allow"
    return None


def _shared(body: Mapping[str, Any]) -> Iterator[Demand]:
    """What is the node's: its namespaces, its ports, and its way to other hosts, which a kubelet goes for a probe."""
    for field in _NAMESPACES:
        if body.get(field):
            yield Demand(f"/spec/{field}", f"{field} shares a namespace of the node", "hostNamespaces")
    for pointer, container in containers_of(body):
        if any(port.get("hostPort") for port in items(container.get("ports"))):
            yield Demand(f"{pointer}/ports", "the container takes a port of the node", "hostNamespaces")
        hooks = mapping(container.get("lifecycle"))
        asked = [(name, container.get(name)) for name in _PROBES]
        asked += [(f"lifecycle/{name}", hooks.get(name)) for name in _HOOKS]
        for name, handler in asked:
            for kind in ("httpGet", "tcpSocket"):
                if mapping(mapping(handler).get(kind)).get("host"):
                    message = "the node is to ask another host than the Pod"
                    yield Demand(f"{pointer}/{name}/{kind}/host", message, "hostNamespaces")


def _accounts(body: Mapping[str, Any], allow: PodsAllow) -> Iterator[Demand]:
    """Who the Pod is to the API server; without a name it is nobody, and gets no token either."""
    for field in _ACCOUNTS:
        name = body.get(field)
        if name and name not in allow.service_accounts:
            yield Demand(f"/spec/{field}", f"the service account {name} is not allowed to jobs", "serviceAccounts")
    if any(body.get(field) for field in _ACCOUNTS) or _NO_ACCOUNT in allow.service_accounts:
        return
    for index, volume in enumerate(items(body.get("volumes"))):
        for place, source in enumerate(items(mapping(volume.get("projected")).get("sources"))):
            for kind in _IDENTITIES:
                if kind in source:
                    pointer = f"/spec/volumes/{index}/projected/sources/{place}/{kind}"
                    message = (
                        f"the volume has an identity of the service account {_NO_ACCOUNT}, which is not allowed to jobs"
                    )
                    yield Demand(pointer, message, "serviceAccounts")


def _privileges(metadata: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[Demand]:
    """What takes down the walls between a container and its node."""
    for name, value in mapping(metadata.get("annotations")).items():
        if str(name).startswith(_APPARMOR) and value == "unconfined":
            pointer = f"/metadata/annotations/{str(name).replace('/', '~1')}"
            yield Demand(pointer, "AppArmor does not confine the container", "privileged")
    context = mapping(body.get("securityContext"))
    yield from _confinement(context, "/spec/securityContext")
    for index, sysctl in enumerate(items(context.get("sysctls"))):
        if str(sysctl.get("name")) not in _SYSCTLS:
            message = f"the Pod sets {sysctl.get('name')}, which is not safe for others on its node"
            yield Demand(f"/spec/securityContext/sysctls/{index}", message, "privileged")
    for pointer, container in containers_of(body):
        at, context = f"{pointer}/securityContext", mapping(container.get("securityContext"))
        if context.get("privileged"):
            yield Demand(f"{at}/privileged", "the container is privileged", "privileged")
        yield from _capabilities(context, at)
        if context.get("procMount", "Default") not in ("Default", None):
            yield Demand(f"{at}/procMount", "the container sees the node's /proc", "privileged")
        yield from _confinement(context, at)


def _capabilities(context: Mapping[str, Any], at: str) -> Iterator[Demand]:
    added = mapping(context.get("capabilities")).get("add")
    if extra := [name for name in map(str, added if isinstance(added, list) else ()) if name not in _HARMLESS]:
        message = f"the container adds capabilities: {', '.join(extra)}"
        yield Demand(f"{at}/capabilities/add", message, "privileged")


def _confinement(context: Mapping[str, Any], at: str) -> Iterator[Demand]:
    """Of a Pod or of a container: they have these fields in common."""
    for field, name in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        if mapping(context.get(field)).get("type") == "Unconfined":
            yield Demand(f"{at}/{field}/type", f"{name} does not confine it", "privileged")
    selinux = mapping(context.get("seLinuxOptions"))
    if selinux.get("user") or selinux.get("role") or (selinux.get("type") or "") not in _SELINUX_TYPES:
        yield Demand(f"{at}/seLinuxOptions", "SELinux confines it otherwise than other containers", "privileged")
    if mapping(context.get("windowsOptions")).get("hostProcess"):
        yield Demand(f"{at}/windowsOptions/hostProcess", "it runs as a process of the node", "privileged")


def containers_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every container of the `spec` of a template, with its JSON pointer. Pure."""
    for kind in _CONTAINERS:
        for index, container in enumerate(items(body.get(kind))):
            yield f"/spec/{kind}/{index}", container


def mapping(value: object) -> Mapping[str, Any]:
    """What is none is an empty one. Pure."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> Sequence[Mapping[str, Any]]:
    """Those that are mappings; others keep their place, so that pointers are right. Pure."""
    return [one if isinstance(one, dict) else {} for one in value] if isinstance(value, list) else []
