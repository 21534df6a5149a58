"""What a run looks like as objects: a batch/v1 Job named like the run, and the Secret with what only its Pod may see.

`executor` asks for each start. The name is the run's, so a second create is a conflict and never a second Pod. Invariant: pure, and no value of a secret is in the Job.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

import base64
import copy
import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from controller.domain import podbox
from controller.domain.job import DeletionPolicy, EnvFrom, EnvVar, ExecTarget, JobSpec, KeyRef, PodTarget
from controller.executors.credentials import DIRECTORY_VARIABLE
from controller.executors.protocol import ExecutionRequest, PodBox, PodRequest
from controller.kinds.catalog import API_VERSION, GROUP

MANAGED_BY = {"app.kubernetes.io/managed-by": "jobwarden"}
RUN_LABEL = f"{GROUP}/run"
JOB_LABEL = f"{GROUP}/job"
MAKING = f"{GROUP}/making"
"""Annotation of a Job: which attempt to make it this was, so that one whose answer was lost knows its own again."""
TOMBSTONE = f"{GROUP}/tombstone"
"""Annotation of a Job that makes no Pod and only has the name: why."""
NETWORK_LABEL = f"{GROUP}/network"
"""Label of a Pod whose network is limited; the policy in `fence` selects it."""
NO_NETWORK, PROXIED = "None", "Proxied"
"""Its values: nothing at all; the egress proxy alone, with the mark of that proxy behind it."""
SELECTOR = "app.kubernetes.io/managed-by=jobwarden"

Object = Mapping[str, Any]

_CONTAINER = "run"
_NOBODY = 65532
_VOLUME = "jobwarden-credentials"
_PRIVATE, _OF_ITS_CONTAINER = 0o400, 0o444
_ANNOTATIONS = {"argocd.argoproj.io/ignore-resource-updates": "true"}
_GIVEN_UP = (
    "The run was given up before its Job could begin. This Job only has its name, so that it cannot begin any more."
)
_LATE_S = 3600
"""How long a tombstone stays at least: a request that comes later than that is none that was under way."""
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Owner(msgspec.Struct, frozen=True):
    """The ScheduledJob object that a run belongs to."""

    name: str
    uid: str


def secret_name(job: Object) -> str:
    """The Secret of a run, by its Job: a name that nobody could take in advance. Pure."""
    return f"{job['metadata']['name']}-{_mark(job)[:10]}"


def _mark(job: Object) -> str:
    return str((job.get("metadata", {}).get("annotations") or {}).get(MAKING, ""))


def job(request: ExecutionRequest, owner: Owner | None, network: str | None = None) -> dict[str, Any]:
    """The Job of a run; suspended where its Secret has still to be made. `network`: the label by which a fence selects its Pod. Pure but for the mark that no other one has.

    Shape:  one Pod, never replaced: retries are ours. `activeDeadlineSeconds` only bounds what a controller that is gone cannot end.
    """
    pod = _pod_request(request)
    spec = pod.spec
    made: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": request.run,
            "namespace": request.namespace,
            "labels": _labels(request),
            "annotations": {**_ANNOTATIONS, MAKING: uuid.uuid4().hex},
            **_owned(owner, spec),
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "suspend": hides(request),
            "activeDeadlineSeconds": math.ceil(longest(spec).total_seconds()),
            "ttlSecondsAfterFinished": math.ceil(spec.history.max_age.total_seconds()),
        },
    }
    made["spec"]["template"] = _in_its_box(_template(request, pod, secret_name(made)), pod.box, network)
    return made


def longest(spec: JobSpec) -> timedelta:
    """How long a Job lives at most after it was let go, whoever looks after it. Pure."""
    return spec.start_timeout + spec.timeout + spec.termination_grace_period


def hides(request: ExecutionRequest) -> bool:
    """Whether the run has a Secret; its way out, which is made late, goes there. Pure."""
    pod = _pod_request(request)
    return bool(pod.secrets or pod.files or pod.box.hosts)


def is_made_of(there: Object, manifest: Object) -> bool:
    """Whether a Job that was found was made of this very manifest, and not by anybody else under the same name. Pure."""
    return bool(_mark(manifest)) and _mark(there) == _mark(manifest)


def tombstone(request: ExecutionRequest, owner: Owner | None) -> dict[str, Any]:
    """A Job that has the name of a run and makes no Pod: whoever asks for the run's own Job from now on finds the name taken.

    Shape:  as `job`, without a Pod to make and with no time to live, so that Kubernetes declares it failed at once. It removes it when the
            run's own would have gone, and not within an hour.
    """
    # No Pod, so nothing that would keep one in.
    bare = msgspec.structs.replace(_pod_request(request), box=PodBox())
    made = job(msgspec.structs.replace(request, pod=bare), owner)
    made["metadata"]["annotations"][TOMBSTONE] = _GIVEN_UP
    made["spec"] |= {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 0}
    made["spec"]["ttlSecondsAfterFinished"] = max(made["spec"]["ttlSecondsAfterFinished"], _LATE_S)
    return made


def is_tombstone(job: Object) -> bool:
    """Whether this Job only has a run's name. Pure."""
    return TOMBSTONE in (job["metadata"].get("annotations") or {})


def trial(namespace: str, name: str, spec: JobSpec) -> dict[str, Any]:
    """A Job as a run of this job would be, to ask an API server what it thinks of it. Pure."""
    pod = PodRequest(spec=spec, values={"JOBWARDEN_OUTPUT": ""}, secrets=None)
    argv = ("true",) if not isinstance(spec.target, ExecTarget | PodTarget) else ()
    request = ExecutionRequest(
        run=f"{name}-trial", namespace=namespace, job=name, argv=argv, env={}, timeout=spec.timeout, pod=pod
    )
    return job(request, None)


def secret(request: ExecutionRequest, made: Object) -> dict[str, Any]:
    """The Secret of a run whose Job was made; it goes with it. Pure."""
    pod = _pod_request(request)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(made),
            "namespace": request.namespace,
            "labels": _labels(request),
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": request.run,
                    "uid": made["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "immutable": True,
        "type": "Opaque",
        "stringData": dict(pod.secrets or {}),
        "data": {key: base64.b64encode(pod.files[path]).decode() for key, path in _keys(pod)},
    }


def _keys(pod: PodRequest) -> list[tuple[str, str]]:
    """The key of each file in the Secret, which has no slashes; a name of a variable has no dot."""
    return [(f"file.{number}", path) for number, path in enumerate(sorted(pod.files))]


def container_of(request: ExecutionRequest) -> str:
    """The container that the run is. Pure."""
    target = _pod_request(request).spec.target
    if isinstance(target, PodTarget):
        return target.container or str(target.template["spec"]["containers"][0]["name"])
    return _CONTAINER


def _pod_request(request: ExecutionRequest) -> PodRequest:
    assert request.pod is not None
    return request.pod


def _labels(request: ExecutionRequest) -> dict[str, str]:
    return {**MANAGED_BY, JOB_LABEL: request.job, RUN_LABEL: request.run}


def _owned(owner: Owner | None, spec: JobSpec) -> dict[str, Any]:
    if owner is None or spec.deletion_policy is not DeletionPolicy.Cancel:
        return {}
    reference = {"apiVersion": API_VERSION, "kind": "ScheduledJob", "name": owner.name, "uid": owner.uid}
    return {"ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": False}]}


def _in_its_box(template: dict[str, Any], box: PodBox, network: str | None) -> dict[str, Any]:
    """What the author has said is as it was: the gates have refused what the box does not allow, or told it where nobody insists."""
    assert (network is not None) == bool(box.shut or box.hosts), (
        "no fence would select the Pod, or one that it has no part in"
    )
    made = podbox.confined(template) if box.confined else template
    if network is not None:
        made["metadata"]["labels"] |= {NETWORK_LABEL: network}
        if box.check_image is not None:
            made["spec"]["initContainers"] = [_check(box.check_image), *(made["spec"].get("initContainers") or ())]
    return made


def _check(image: str) -> dict[str, Any]:
    """See `fence_check`: before whatever else the Pod does."""
    return {
        "name": "jobwarden-fence",
        "image": image,
        "args": ["fence-check"],
        # What it says last is why the run was not started.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {**_RESTRICTED, "readOnlyRootFilesystem": True, "runAsUser": _NOBODY},
    }


def _template(request: ExecutionRequest, pod: PodRequest, hidden: str) -> dict[str, Any]:
    if isinstance(pod.spec.target, PodTarget):
        return _given(request, pod, pod.spec.target, hidden)
    container = {
        "name": _CONTAINER,
        "image": pod.spec.image,
        **_command(request, pod.spec),
        "env": _environment(pod, hidden),
        "envFrom": [_whole(one) for one in pod.spec.env_from],
        "resources": pod.spec.resources,
        "securityContext": dict(_RESTRICTED),
        **({"workingDir": request.cwd} if request.cwd else {}),
    }
    body: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace(request),
        # An image whose user is root would be refused; a script in it rarely needs to be.
        "securityContext": {"runAsUser": _NOBODY, "runAsGroup": _NOBODY},
        "containers": [container],
    }
    if pod.files or pod.tokens:
        # Files of a Secret are root's: the group is how another user reads them.
        body["securityContext"]["fsGroup"] = _NOBODY
        _mount(body, container, pod, hidden, _PRIVATE)
    return {"metadata": {"labels": _labels(request)}, "spec": body}


def _mount(body: dict[str, Any], container: dict[str, Any], pod: PodRequest, hidden: str, mode: int) -> None:
    """Effect: the files of the credentials are in this container of the Pod, and what the kubelet puts beside them."""
    items = [{"key": key, "path": path} for key, path in _keys(pod)]
    sources: list[dict[str, Any]] = [{"secret": {"name": hidden, "items": items}}] if items else []
    for token in pod.tokens:
        wanted = {
            "path": token.file,
            "audience": token.audience,
            "expirationSeconds": math.ceil(token.lifetime.total_seconds()),
        }
        sources.append({"serviceAccountToken": wanted})
        body["serviceAccountName"] = token.account
    volume = {"name": _VOLUME, "projected": {"sources": sources, "defaultMode": mode}}
    mount = {"name": _VOLUME, "mountPath": pod.values[DIRECTORY_VARIABLE], "readOnly": True}
    body["volumes"] = [*(body.get("volumes") or ()), volume]
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _given(request: ExecutionRequest, pod: PodRequest, target: PodTarget, hidden: str) -> dict[str, Any]:
    """The author's template with what a run has to have. Only what would break the account of a run is changed."""
    template = copy.deepcopy(target.template)
    body: dict[str, Any] = template["spec"]
    body["restartPolicy"] = "Never"
    # The account itself was judged before; without one nobody needs a token.
    if not (body.get("serviceAccountName") or body.get("serviceAccount")):
        body["automountServiceAccountToken"] = False
    body.setdefault("terminationGracePeriodSeconds", _grace(request))
    metadata = template["metadata"] = template.get("metadata") or {}
    # It would keep the Pod for whoever takes the finalizer away, which is nobody.
    metadata.pop("finalizers", None)
    metadata["labels"] = {**(metadata.get("labels") or {}), **_labels(request)}
    name = container_of(request)
    (container,) = (one for one in body["containers"] if one.get("name") == name)
    ours = {**pod.values, "JOBWARDEN_OUTPUT": container.get("terminationMessagePath") or pod.values["JOBWARDEN_OUTPUT"]}
    secrets = pod.secrets or {}
    theirs = [
        one for one in container.get("env") or () if one.get("name") not in ours and one.get("name") not in secrets
    ]
    container["env"] = [*theirs, *_hidden(pod, hidden), *_plain(ours)]
    if pod.files or pod.tokens:
        # Who its user is only the image knows; without a group of the Pod nobody but root could read them.
        grouped = "fsGroup" in (body.get("securityContext") or {})
        _mount(body, container, pod, hidden, _PRIVATE if grouped else _OF_ITS_CONTAINER)
    return template


def _grace(request: ExecutionRequest) -> int:
    return math.ceil(request.grace.total_seconds())


def _command(request: ExecutionRequest, spec: JobSpec) -> dict[str, list[str]]:
    if isinstance(spec.target, ExecTarget):
        # As in a container's own words: args alone would be given to the image's entry point.
        return {"command": _literal(spec.target.command), "args": _literal(spec.target.args)}
    return {"command": _literal(request.argv)}


def _environment(pod: PodRequest, hidden: str) -> list[dict[str, Any]]:
    ours = {*pod.values, *(pod.secrets or ())}
    references = (one for variable in pod.spec.env if variable.name not in ours for one in _reference(variable))
    return [*references, *_hidden(pod, hidden), *_plain(pod.values)]


def _hidden(pod: PodRequest, hidden: str) -> list[dict[str, Any]]:
    return [_from(name, "secretKeyRef", KeyRef(hidden, name)) for name in sorted(pod.secrets or ())]


def _plain(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": _one(value)} for name, value in values.items()]


def _reference(variable: EnvVar) -> Iterable[dict[str, Any]]:
    if variable.secret_key_ref is not None:
        yield _from(variable.name, "secretKeyRef", variable.secret_key_ref)
    if variable.config_map_key_ref is not None:
        yield _from(variable.name, "configMapKeyRef", variable.config_map_key_ref)


def _from(name: str, field: str, key: KeyRef) -> dict[str, Any]:
    reference = {"name": key.name, "key": key.key, **({"optional": True} if key.optional else {})}
    return {"name": name, "valueFrom": {field: reference}}


def _whole(source: EnvFrom) -> dict[str, Any]:
    field, name = ("secretRef", source.secret) if source.secret else ("configMapRef", source.config_map)
    reference = {"name": name, **({"optional": True} if source.optional else {})}
    return {field: reference, **({"prefix": source.prefix} if source.prefix else {})}


def _literal(texts: Iterable[str]) -> list[str]:
    return [_one(text) for text in texts]


def _one(text: str) -> str:
    """The text as Kubernetes gives it to the process: `$(NAME)` would be expanded, and `$$` is one dollar."""
    return text.replace("$", "$$")
