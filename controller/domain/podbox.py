"""The box of a contract in the words of a Pod: what the profiles ask of its fields, and what a template says against that.

`gates.box` asks before a run opens, `kubernetes.podspec` fills in when its Job is made. `Restricted` and `Isolated` ask for the same fields: every Pod has processes, IPC and a
host name of its own. Invariant: pure, and never an exception, whatever shape a template has; a template without objections becomes a Pod that keeps the profile, and what a
template says itself is never changed.
Source: Pod Security Standards, "restricted" (https://kubernetes.io/docs/concepts/security/pod-security-standards/), and beyond it no capability at all, a read-only
system and no token, as the profile says.
"""

import copy
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from controller.domain.pods import containers_of, demands, items, mapping
from controller.domain.resolve import PodsAllow

HOME = "/home/jobwarden"
TMP = "/tmp"  # noqa: S108 - the Pod's own
_SECCOMP = ("RuntimeDefault", "Localhost")
_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_IDENTITIES = ("serviceAccountToken", "podCertificate")
_FILLED = ("containers", "initContainers")


class Objection(msgspec.Struct, frozen=True):
    """Something that a template says and a box does not allow: where in the template (JSON pointer), and what it is."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"spec.pod.template{self.pointer} ({self.message})"


def confined(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template with everything filled in that the profile asks for and the template leaves open, as a copy. Pure.

    Shape:  a private /tmp and a private home for each container that mounts nothing at the one, and has no HOME for the other.
    """
    made = copy.deepcopy(dict(template))
    body = made.get("spec")
    if not isinstance(body, dict):
        return made
    _fill(body, automountServiceAccountToken=False, securityContext={})
    if isinstance(body["securityContext"], dict):
        _fill(body["securityContext"], runAsNonRoot=True, seccompProfile={"type": "RuntimeDefault"})
    taken = {str(one.get("name")) for one in items(body.get("volumes"))}
    folders = {path: _free(name, taken) for name, path in (("jobwarden-tmp", TMP), ("jobwarden-home", HOME))}
    used: set[str] = set()
    for field in _FILLED:
        containers = body.get(field)
        for container in containers if isinstance(containers, list) else ():
            if isinstance(container, dict):
                used |= _fill_container(container, folders)
    if used:
        _fill(body, volumes=[])
        if isinstance(body["volumes"], list):
            body["volumes"] += [{"name": name, "emptyDir": {}} for name in folders.values() if name in used]
    return made


def objections(template: Mapping[str, Any]) -> tuple[Objection, ...]:
    """What the template says against the profiles, each field once, whatever the controller's settings allow. Pure."""
    found: dict[str, Objection] = {}
    for one in _objections(confined(template)):
        found.setdefault(one.pointer, one)
    return tuple(found.values())


def ways_round(template: Mapping[str, Any]) -> tuple[Objection, ...]:
    """What the template asks for that reaches beyond a network of its own, so that a NetworkPolicy does not hold, whatever the controller's settings allow. Pure."""
    beyond = (one for one in demands(template, PodsAllow()) if one.setting != "serviceAccounts")
    return tuple(Objection(one.pointer, one.message) for one in beyond)


def _objections(made: Mapping[str, Any]) -> Iterator[Objection]:
    yield from ways_round(made)
    body = mapping(made.get("spec"))
    if mapping(body.get("os")).get("name") == "windows":
        yield Objection("/spec/os/name", "the profile is for Linux")
    yield from _identities(body)
    yield from _volumes(body)
    context = mapping(body.get("securityContext"))
    yield from _user(context, "/spec/securityContext")
    if context.get("runAsNonRoot") is not True:
        yield Objection("/spec/securityContext/runAsNonRoot", "its user may be root")
    for pointer, container in containers_of(body):
        yield from _container(mapping(container.get("securityContext")), f"{pointer}/securityContext")


def _fill(fields: dict[str, Any], **values: Any) -> None:
    """What is null is as absent as what is not there."""
    for name, value in values.items():
        if fields.get(name) is None:
            fields[name] = value


def _fill_container(container: dict[str, Any], folders: Mapping[str, str]) -> set[str]:
    """Gives the names of the volumes that it uses of `folders`, by path."""
    _fill(container, securityContext={}, env=[], volumeMounts=[])
    context = container["securityContext"]
    if isinstance(context, dict):
        _fill(context, allowPrivilegeEscalation=False, readOnlyRootFilesystem=True, capabilities={})
        if isinstance(context["capabilities"], dict):
            _fill(context["capabilities"], drop=[])
            drop = context["capabilities"]["drop"]
            if isinstance(drop, list) and "ALL" not in drop:
                drop.append("ALL")
    env, mounts = container["env"], container["volumeMounts"]
    if not isinstance(env, list) or not isinstance(mounts, list):
        return set()
    wanted = {TMP}
    if all(one.get("name") != "HOME" for one in items(env)):
        env.append({"name": "HOME", "value": HOME})
        wanted.add(HOME)
    wanted -= {_plain(one.get("mountPath")) for one in items(mounts)}
    mounts += [{"name": folders[path], "mountPath": path} for path in sorted(wanted)]
    return {folders[path] for path in wanted}


def _plain(path: object) -> str:
    """One spelling of a path: POSIX lets a second slash at the beginning mean something, which no container does."""
    return posixpath.normpath(f"/{path.lstrip('/')}") if isinstance(path, str) else ""


def _free(name: str, taken: set[str]) -> str:
    """A name that no volume of the template has."""
    return name if name not in taken else next(f for n in range(1, len(taken) + 2) if (f := f"{name}-{n}") not in taken)


def _identities(body: Mapping[str, Any]) -> Iterator[Objection]:
    """An account may be named, for what is pulled with it; what proves to be it stays outside."""
    if body.get("automountServiceAccountToken") is not False:
        yield Objection("/spec/automountServiceAccountToken", "the token of a service account is mounted")
    for index, volume in enumerate(items(body.get("volumes"))):
        for place, source in enumerate(items(mapping(volume.get("projected")).get("sources"))):
            for kind in _IDENTITIES:
                if kind in source:
                    pointer = f"/spec/volumes/{index}/projected/sources/{place}/{kind}"
                    yield Objection(pointer, "the volume has an identity of a service account")


def _volumes(body: Mapping[str, Any]) -> Iterator[Objection]:
    for index, volume in enumerate(items(body.get("volumes"))):
        for kind in sorted(map(str, volume.keys() - _VOLUMES - {"name", "hostPath"})):
            yield Objection(f"/spec/volumes/{index}/{kind}", "the volume is none that a restricted Pod may have")


def _user(context: Mapping[str, Any], at: str) -> Iterator[Objection]:
    """Of a Pod or of a container: they have these fields in common."""
    user = context.get("runAsUser")
    if user is not None and (not isinstance(user, int) or user < 1):
        yield Objection(f"{at}/runAsUser", "its user is root")
    seccomp = context.get("seccompProfile")
    if seccomp is not None and mapping(seccomp).get("type") not in _SECCOMP:
        yield Objection(f"{at}/seccompProfile/type", "it is none of RuntimeDefault and Localhost")


def _container(context: Mapping[str, Any], at: str) -> Iterator[Objection]:
    yield from _user(context, at)
    if context.get("runAsNonRoot") not in (None, True):
        yield Objection(f"{at}/runAsNonRoot", "its user may be root")
    if context.get("allowPrivilegeEscalation") is not False:
        yield Objection(f"{at}/allowPrivilegeEscalation", "it may gain privileges")
    if context.get("readOnlyRootFilesystem") is not True:
        yield Objection(f"{at}/readOnlyRootFilesystem", "it may write to its image's files")
    capabilities = mapping(context.get("capabilities"))
    if capabilities.get("add"):
        yield Objection(f"{at}/capabilities/add", "it has capabilities")
    dropped = capabilities.get("drop")
    if not isinstance(dropped, list) or "ALL" not in dropped:
        yield Objection(f"{at}/capabilities/drop", "it keeps capabilities")
