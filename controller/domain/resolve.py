"""A valid ScheduledJob document to the `JobSpec` that the engine reads: text parsed, defaults applied.

Reconcile calls it once for each new generation. A default lives twice, in the schema for users and in `JobSpec` for us; a test holds them equal.
Invariant: documents whose effective digests are equal, and which say the same about the rest, give equal specs.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec

from controller.base import durations, quantities
from controller.domain import job, resolve_trust
from controller.kinds.values import instant

Source = Mapping[str, Any]
_DEFAULT_EVENTS = (job.NotificationEvent.Failed, job.NotificationEvent.Missed)


class PodsAllow(msgspec.Struct, frozen=True):
    """What Pods of jobs may have beyond what every Pod may."""

    privileged: bool = False
    host_namespaces: bool = False
    host_paths: bool = False
    service_accounts: tuple[str, ...] = ()


class Defaults(msgspec.Struct, frozen=True):
    """What the controller's settings mean for every job: a target that is told about Failed and Missed, and where it may run (the first place is
    meant where a job does not say; none: it is not known where).
    """

    notification_target: str | None = None
    notification_target_kind: str = "NotificationTarget"
    executors: tuple[job.ExecutorKind, ...] = ()
    image: str | None = None
    pods: PodsAllow = PodsAllow()
    pod_namespaces: tuple[str, ...] = ()  # where Pods are looked after; none: everywhere
    network_policies: bool = False  # the cluster of these Pods enforces them
    fence_check_image: str | None = None  # with which a Pod sees that they hold
    egress_proxy: bool = False  # these Pods have one, which lets them out to listed hosts


def job_spec(spec: Source, defaults: Defaults = Defaults()) -> job.JobSpec:  # noqa: B008 - frozen
    """The resolved job of the valid `spec` of a ScheduledJob. Pure.

    Errors: KeyError or ValueError mean that the document had not been validated.
    """
    return job.JobSpec(
        target=_target(spec),
        schedule=_schedule(spec["schedule"]) if "schedule" in spec else None,
        trigger=_trigger(spec["trigger"]) if "trigger" in spec else None,
        parameters=tuple(_parameter(item) for item in spec.get("parameters", ())),
        executor=_executor(spec, defaults),
        image=spec.get("image") or defaults.image,
        resources=spec.get("resources", {}),
        env=tuple(_variable(item) for item in spec.get("env", ())),
        env_from=tuple(_whole(item) for item in spec.get("envFrom", ())),
        concurrency=_concurrency(spec.get("concurrency", {})),
        retry=_retry(spec.get("retry", {})),
        error_backoff=job.ErrorBackoff(**_given(spec.get("errorBackoff", {}), enabled=bool, max=_duration)),
        approval=_approval(spec.get("approval", {})),
        notifications=_notifications(spec.get("notifications", ()), defaults),
        alerts=job.Alerts(
            **_given(spec.get("alerts", {}), noSuccessFor=_duration, maxDuration=_duration, finishBy=str)
        ),
        history=job.History(**_given(spec.get("history", {}), succeeded=int, failed=int, maxAge=_duration)),
        output_keep=quantities.parse(spec.get("output", {}).get("keep", "64Ki")),
        trust=resolve_trust.job_trust(spec),
        **_given(
            spec,
            description=str,
            suspend=bool,
            priority=int,
            workingDir=str,
            timeout=_duration,
            startTimeout=_duration,
            terminationGracePeriod=_duration,
            onInterruption=job.Interruption,
            deletionPolicy=job.DeletionPolicy,
        ),
    )


def _executor(spec: Source, defaults: Defaults) -> job.ExecutorKind:
    """A watchdog over a job starts nothing, so it is nowhere else."""
    if "job" in spec.get("watchdog", {}):
        return job.ExecutorKind.Local
    if "pod" in spec:
        return job.ExecutorKind.Kubernetes
    said = spec.get("executor") or next(iter(defaults.executors), job.ExecutorKind.Local)
    return job.ExecutorKind(said)


def _given(source: Source, **fields: Callable[[Any], Any]) -> dict[str, Any]:
    """Keyword arguments out of the camelCase `fields` that the source has, each converted; absent ones are left to their defaults."""
    return {_snake(field): convert(source[field]) for field, convert in fields.items() if source.get(field) is not None}


@cache
def _snake(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)


def _duration(text: str) -> timedelta:
    return durations.parse(text)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _schedule(source: Source) -> job.Schedule:
    fields = _given(
        source,
        crons=_texts,
        every=_duration,
        at=instant,
        timeZone=str,
        jitter=_duration,
        startAt=instant,
        endAt=instant,
        startingDeadline=_duration,
    )
    if "cron" in source:
        fields["crons"] = (source["cron"],)
    catch_up = _given(source.get("catchUp", {}), policy=job.CatchUp, limit=int)
    fields.update({"catch_up" if name == "policy" else "catch_up_limit": value for name, value in catch_up.items()})
    return job.Schedule(**fields)


def _trigger(source: Source) -> job.Trigger:
    after = tuple(job.Parent(**_given(parent, job=str, when=job.When)) for parent in source["after"])
    return job.Trigger(after=after, condition=source.get("if"), **_given(source, join=job.Join, delay=_duration))


def _parameter(source: Source) -> job.Parameter:
    output = source.get("valueFrom", {}).get("parentOutput")
    return job.Parameter(
        parent_output=(output["job"], output["key"]) if output else None,
        **_given(source, name=str, default=str, required=bool, pattern=str),
    )


def with_fields(spec: job.JobSpec, labels: Mapping[str, str], annotations: Mapping[str, str]) -> job.JobSpec:
    """The job with variables that `fieldRef` takes from labels or annotations filled in: both belong to the same document. Pure."""
    tables = {"metadata.labels": labels, "metadata.annotations": annotations}
    filled = []
    for variable in spec.env:
        table, _, key = (variable.field_ref or "").partition("['")
        if table in tables:
            value = tables[table].get(key.removesuffix("']"), "")
            filled.append(job.EnvVar(name=variable.name, value=value))
        else:
            filled.append(variable)
    return msgspec.structs.replace(spec, env=tuple(filled)) if spec.env else spec


def _target(spec: Source) -> job.Target:
    if "shell" in spec:
        return job.ShellTarget(**_given(spec["shell"], script=str, shell=str))
    if "exec" in spec:
        return job.ExecTarget(**_given(spec["exec"], command=_texts, args=_texts))
    if "pod" in spec:
        return job.PodTarget(spec["pod"]["template"], spec["pod"].get("container"))
    watchdog = spec["watchdog"]
    check = _given(watchdog.get("check", {}), script=str, shell=str)
    if "script" in check:
        check["check"] = check.pop("script")
    times = _given(watchdog, job=str, startedAt=instant, maxDuration=_duration, noOutputFor=_duration)
    return job.WatchdogTarget(**check, **times)


def _variable(source: Source) -> job.EnvVar:
    origin = source.get("valueFrom", {})
    return job.EnvVar(
        name=source["name"],
        value=source.get("value"),
        file_ref=origin.get("fileRef", {}).get("path"),
        env_ref=origin.get("envRef", {}).get("name"),
        field_ref=origin.get("fieldRef", {}).get("fieldPath"),
        secret_key_ref=_key(origin.get("secretKeyRef")),
        config_map_key_ref=_key(origin.get("configMapKeyRef")),
        credential_ref=origin.get("credentialRef", {}).get("name"),
    )


def _key(source: Source | None) -> job.KeyRef | None:
    return job.KeyRef(**_given(source, name=str, key=str, optional=bool)) if source else None


def _whole(source: Source) -> job.EnvFrom:
    secret, config_map = source.get("secretRef"), source.get("configMapRef")
    return job.EnvFrom(
        prefix=source.get("prefix", ""),
        secret=secret["name"] if secret else None,
        config_map=config_map["name"] if config_map else None,
        optional=(secret or config_map or {}).get("optional", False),
    )


def _concurrency(source: Source) -> job.Concurrency:
    pools = tuple(job.PoolRef(**_given(pool, name=str, kind=str, slots=int)) for pool in source.get("pools", ()))
    return job.Concurrency(pools=pools, **_given(source, policy=job.ConcurrencyPolicy, maxQueued=int))


def _retry(source: Source) -> job.RetryPolicy:
    backoff = _given(source.get("backoff", {}), initial=_duration, factor=float, max=_duration, jitter=_duration)
    rules = tuple(
        job.RetryRule(
            action=job.RetryAction(rule["action"]),
            exit_codes=tuple(int(code) for code in rule.get("exitCodes", ())),
            reasons=tuple(job.FailureReason(reason) for reason in rule.get("reasons", ())),
        )
        for rule in source.get("rules", ())
    )
    return job.RetryPolicy(limit=int(source.get("limit", 0)), backoff=job.Backoff(**backoff), rules=rules)


def _approval(source: Source) -> job.ApprovalPolicy:
    return job.ApprovalPolicy(
        **_given(
            source,
            required=bool,
            gate=job.Gate,
            approvals=int,
            allowSelf=bool,
            timeout=_duration,
            onTimeout=job.OnTimeout,
            maxPending=int,
            message=str,
            approvers=_texts,
        )
    )


def _notifications(sources: Iterable[Source], defaults: Defaults) -> tuple[job.Notification, ...]:
    own = tuple(
        job.Notification(
            events=tuple(job.NotificationEvent(event) for event in source["events"]),
            target=source["targetRef"]["name"],
            **_given(source, afterFailures=int, to=str),
            **({"target_kind": source["targetRef"]["kind"]} if "kind" in source["targetRef"] else {}),
        )
        for source in sources
    )
    spoken_for = {event for notification in own for event in notification.events}
    rest = tuple(event for event in _DEFAULT_EVENTS if event not in spoken_for)
    if defaults.notification_target is None or not rest:
        return own
    added = job.Notification(
        events=rest, target=defaults.notification_target, target_kind=defaults.notification_target_kind
    )
    return (*own, added)
