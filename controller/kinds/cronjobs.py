"""A CronJob of Kubernetes as a ScheduledJob, with an account of everything that is not the same afterwards.

`jobwarden import cronjob` hands over documents, and how a cron expression of Kubernetes is written here (`controller.schedule.kubernetes`). Invariant: a field
of a CronJob is in the ScheduledJob or in the remarks: each is taken from its mapping, and what nobody has taken is told.
Source: batch/v1 CronJob and Job of Kubernetes 1.34.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from controller.base import durations
from controller.kinds.catalog import API_VERSION, SCHEDULED_JOB, SERVER_METADATA

T = TypeVar("T")
Document = dict[str, Any]

JOB = "/spec/jobTemplate/spec"
"""Where the description of the Job is in a CronJob."""
_VERSIONS = ("batch/v1", "batch/v1beta1")
_LISTS = ("List", "CronJobList")
_BOOKKEEPING = tuple(field for field in SERVER_METADATA if field not in ("ownerReferences", "finalizers"))
"""What is dropped without a word; owners and finalizers are somebody's doing."""
# They say who made the CronJob; on another object they would be a lie that deletes it.
_OTHERS_MARKS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "argocd.argoproj.io/tracking-id",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
    "objectset.rio.cattle.io/applied",
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MOST_RETRIES, _MOST_HISTORY, _MOST_RULES, _MOST_CODES = 20, 10_000, 16, 64
_BACKOFF_LIMIT = 6  # what Kubernetes does where nothing is said
_BACKOFF = {"initial": "10s", "factor": 2, "max": "6m"}
_ACTIONS = {"FailJob": "Fail", "Count": "Retry"}
_GRACE_SECONDS = 30  # likewise


class Level(StrEnum):
    """How much a remark matters."""

    Lost = "lost"  # could not be carried over
    Differs = "differs"  # carried over, and behaves otherwise in what the message says
    Dropped = "dropped"  # bookkeeping of somebody else, which means nothing in a manifest


class Remark(msgspec.Struct, frozen=True):
    """One thing that is not the same. `pointer` leads to it in the CronJob; for people: what happens, and what to do."""

    level: Level
    pointer: str
    message: str
    hint: str = ""


class Timing(msgspec.Struct, frozen=True):
    """What a cron expression of Kubernetes becomes: fields of `schedule` (none when it cannot be), and what is to be said about it."""

    fields: Mapping[str, str]
    remarks: tuple[Remark, ...] = ()


class Imported(msgspec.Struct, frozen=True):
    """One CronJob and what became of it."""

    namespace: str
    name: str
    document: Document
    remarks: tuple[Remark, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing was lost."""
        return all(one.level is not Level.Lost for one in self.remarks)


def found_in(value: Any) -> Iterator[tuple[Any, bool]]:
    """Every object in a document, the items of lists each for itself, and whether it is a CronJob. Pure."""
    if isinstance(value, dict) and value.get("kind") in _LISTS and isinstance(value.get("items"), list):
        kind = "CronJob" if value["kind"] == "CronJobList" else None
        for item in value["items"]:
            # Items of a typed list need not say what they are.
            yield from found_in({"kind": kind, "apiVersion": value.get("apiVersion"), **item} if kind else item)
    elif value is not None:
        yield value, isinstance(value, dict) and value.get("kind") == "CronJob" and value.get("apiVersion") in _VERSIONS


def convert(cronjob: Mapping[str, Any], timing: Callable[[str, str], Timing]) -> Imported:
    """The ScheduledJob that does what this CronJob does, as far as one can. Pure; never raises, whatever the document holds.

    `timing` turns a cron expression, found at a pointer, into fields of `schedule`.
    """
    remarks: list[Remark] = []
    whole = _Part(cronjob, "", remarks)
    whole.take("apiVersion", str)
    whole.take("kind", str)
    metadata = _metadata(whole.part("metadata"))
    spec = _spec(whole.part("spec"), timing)
    whole.drop(("status",), "it tells of runs of Kubernetes")
    whole.end()
    document = {"apiVersion": API_VERSION, "kind": SCHEDULED_JOB.name, "metadata": metadata, "spec": spec}
    return Imported(metadata.get("namespace", ""), str(metadata.get("name", "")), document, tuple(remarks))


class _Part:
    """One mapping of the CronJob, whose fields are taken one by one; `end` tells what is left."""

    def __init__(self, value: Any, pointer: str, remarks: list[Remark]) -> None:
        self.pointer, self._remarks = pointer, remarks
        # What is null is not set, to Kubernetes and to us.
        self._left: dict[Any, Any] = {}
        if isinstance(value, Mapping):
            self._left = {key: one for key, one in value.items() if one is not None}
        elif value is not None:
            self.say(Level.Lost, "", f"this is no mapping: {_shown(value)}")

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, kind: type[T]) -> T | None:
        """The value of a field; None when it is not set, or not of that type, which is told."""
        value = self._left.pop(name, None)
        if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
            return value
        self.say(Level.Lost, name, f"{_shown(value)} is no {_WORDS[kind]}, so it is left out")
        return None

    def part(self, name: str) -> "_Part":
        return _Part(self._left.pop(name, None), f"{self.pointer}/{name}", self._remarks)

    def parts(self, name: str) -> "list[_Part]":
        found = self.take(name, list) or []
        return [_Part(one, f"{self.pointer}/{name}/{index}", self._remarks) for index, one in enumerate(found)]

    def say(self, level: Level, name: str, message: str, hint: str = "") -> None:
        self.add(Remark(level, f"{self.pointer}/{_escaped(name)}" if name else self.pointer, message, hint))

    def add(self, *remarks: Remark) -> None:
        self._remarks.extend(remarks)

    def lose(self, name: str, message: str, hint: str = "") -> None:
        """Leave a field out that means something, if it is there."""
        if self._left.pop(name, None) is not None:
            self.say(Level.Lost, name, message, hint)

    def drop(self, names: Iterable[str], message: str) -> None:
        """Leave fields out that mean nothing in a manifest."""
        for name in names:
            if self._left.pop(name, None) is not None:
                self.say(Level.Dropped, name, message)

    def rest(self) -> dict[str, Any]:
        left, self._left = self._left, {}
        return left

    def end(self) -> None:
        for name in list(self._left):
            self.lose(name, "this field is not known here, so it is left out", "see what it does in Kubernetes")


_WORDS: Mapping[type, str] = {str: "text", int: "whole number", bool: "boolean", list: "list", dict: "mapping"}


# Metadata


def _metadata(part: _Part) -> Document:
    found: Document = {}
    name = part.take("name", str)
    if name is not None:
        found["name"] = name
        _judge_name(part, name)
    else:
        part.say(Level.Lost, "name", "there is no name", "write metadata.name")
    part.lose("generateName", "a manifest needs a name of its own", "write metadata.name")
    if (namespace := part.take("namespace", str)) is not None:
        found["namespace"] = namespace
    for field in ("labels", "annotations"):
        if kept := _marks(part.part(field)):
            found[field] = kept
    part.drop(_BOOKKEEPING, "the API server writes it")
    part.lose("ownerReferences", "a ScheduledJob has no owner", "delete the ScheduledJob yourself when its owner goes")
    part.lose("finalizers", "a finalizer waits for whoever knows CronJobs")
    part.end()
    return found


def _judge_name(part: _Part, name: str) -> None:
    if len(name) > SCHEDULED_JOB.max_name:
        part.say(Level.Lost, "name", f"{name!r} has {len(name)} characters; a job's name has at most 52", "shorten it")
    elif not _NAME.fullmatch(name):
        part.say(
            Level.Lost, "name", f"{name!r} is no name here", "use lower-case letters, digits and -, as in my-job-2"
        )


def _marks(part: _Part) -> dict[str, str]:
    """Labels or annotations that go along."""
    part.drop(_OTHERS_MARKS, "it says who made the CronJob")
    found = {}
    for key, value in part.rest().items():
        if not isinstance(value, str):
            part.say(Level.Lost, str(key), f"{_shown(value)} is no text, so it is left out", "put it in quotes")
        elif key == "app.kubernetes.io/managed-by" and value == "Helm":
            part.say(Level.Dropped, key, "it says who made the CronJob")
        else:
            found[str(key)] = value
    return found


# Spec


def _spec(part: _Part, timing: Callable[[str, str], Timing]) -> Document:
    found: Document = {}
    suspend = part.take("suspend", bool)
    if suspend is not None:
        found["suspend"] = suspend
    if suspend:
        part.say(
            Level.Differs,
            "suspend",
            "Kubernetes makes up for the latest instant of the pause when it ends; here instants of a pause are gone",
        )
    if schedule := _schedule(part, timing):
        found["schedule"] = schedule
    job = part.part("jobTemplate")
    work = job.part("spec")
    _template_metadata(job.part("metadata"))
    job.end()
    found |= _pod(work)
    found |= _timeout(work)
    found["concurrency"] = {"policy": _policy(part)}
    found |= _retry(work)
    if history := _history(part, work):
        found["history"] = history
    _unsupported(work)
    work.end()
    part.end()
    return found


def _schedule(part: _Part, timing: Callable[[str, str], Timing]) -> Document:
    expression = part.take("schedule", str)
    zone, deadline = part.take("timeZone", str), part.take("startingDeadlineSeconds", int)
    timed = timing(expression, f"{part.pointer}/schedule") if expression is not None else Timing({})
    part.add(*timed.remarks)
    if expression is None:
        part.say(Level.Lost, "schedule", "there is no schedule, so the job runs on request only", "write spec.schedule")
    if not timed.fields:
        for name in [
            name for name, value in (("timeZone", zone), ("startingDeadlineSeconds", deadline)) if value is not None
        ]:
            part.say(Level.Lost, name, "without its schedule it means nothing")
        return {}
    found: Document = dict(timed.fields)
    if zone is not None:
        found["timeZone"] = zone
        if zone not in ("UTC", "Etc/UTC"):
            part.say(
                Level.Differs,
                "timeZone",
                "an instant that a clock change skips is skipped by Kubernetes; here it fires right after the gap",
            )
    elif "cron" in found:
        part.say(
            Level.Differs,
            "timeZone",
            "is not set: Kubernetes uses the zone of kube-controller-manager; here that is UTC",
            "write schedule.timeZone if your control plane lives elsewhere",
        )
    if deadline is not None and deadline > 0:
        found["startingDeadline"] = _seconds(deadline)
        part.say(
            Level.Differs,
            "startingDeadlineSeconds",
            "here the deadline also counts while a due run waits for a pool, an approval or an earlier run",
        )
    elif deadline is not None:
        part.say(Level.Lost, "startingDeadlineSeconds", f"{deadline} is no deadline here", "write 1s or more")
    return found


def _policy(part: _Part) -> str:
    given = part.take("concurrencyPolicy", str)
    policy = "Allow" if given is None else given
    if policy not in ("Allow", "Forbid", "Replace"):
        part.say(Level.Lost, "concurrencyPolicy", f"{policy!r} is no policy of Kubernetes", "Forbid is written instead")
        return "Forbid"
    if policy == "Forbid":
        part.say(
            Level.Differs,
            "concurrencyPolicy",
            "an instant that comes while a run goes on is skipped here; Kubernetes may still start it once that run has ended",
            "write policy: Queue with maxQueued: 1 to have it started then",
        )
    return policy


def _template_metadata(part: _Part) -> None:
    part.drop(_BOOKKEEPING, "the API server writes it")
    part.drop(("name", "generateName", "namespace"), "Jobs get their names from the CronJob, there as here")
    for name in ("labels", "annotations"):
        part.lose(
            name,
            "the Jobs of a run get labels of jobwarden only",
            "put what Pods need into metadata of the Pod template",
        )
    part.end()


def _pod(part: _Part) -> Document:
    template = part.take("template", dict)
    if template is None:
        part.say(Level.Lost, "template", "there is no Pod template, so there is nothing to run")
        return {}
    metadata = template.get("metadata")
    if isinstance(metadata, Mapping):
        # What the API server writes into an empty one.
        kept = {key: value for key, value in metadata.items() if value is not None}
        template = {**({"metadata": kept} if kept else {}), **{k: v for k, v in template.items() if k != "metadata"}}
    spec = template.get("spec")
    body = spec if isinstance(spec, Mapping) else {}
    _tell_of_pod(_Part(body, f"{part.pointer}/template/spec", []), part)
    grace = body.get("terminationGracePeriodSeconds")
    seconds = grace if isinstance(grace, int) and grace >= 0 else _GRACE_SECONDS
    return {"pod": {"template": template}, "terminationGracePeriod": _seconds(seconds)}


def _tell_of_pod(pod: _Part, told: _Part) -> None:
    """What a Pod template says that a run does otherwise. The template itself goes along as it is."""

    def differs(name: str, message: str, hint: str = "") -> None:
        told.add(Remark(Level.Differs, f"{pod.pointer}/{name}" if name else pod.pointer, message, hint))

    differs(
        "",
        "Kubernetes waits for ever for a Pod to start; here the attempt has failed after 10m",
        "write `startTimeout` if an image or a node may take longer",
    )
    if (policy := pod.take("restartPolicy", str)) == "OnFailure":
        differs("restartPolicy", f"{policy} becomes Never: each attempt is a Pod of its own, as `retry` says")
    containers = pod.take("containers", list) or []
    if len(containers) > 1:
        first = containers[0].get("name") if isinstance(containers[0], Mapping) else None
        differs(
            "containers",
            f"the exit code of the first container ({first}) is that of the run; to Kubernetes every container counts",
            "write pod.container if another one does the work",
        )
    named = pod.take("serviceAccountName", str) or pod.take("serviceAccount", str)
    if not named and pod.take("automountServiceAccountToken", bool) is not False:
        differs(
            "serviceAccountName",
            "is not set: Kubernetes mounts a token of the account `default`; here no token is mounted",
            "name a service account, and have the controller allow it, if the work asks the API server",
        )


def _timeout(part: _Part) -> Document:
    seconds = part.take("activeDeadlineSeconds", int)
    if seconds is not None and seconds > 0:
        part.say(
            Level.Differs,
            "activeDeadlineSeconds",
            "Kubernetes counts all attempts of a Job together; here `timeout` is that of each attempt",
        )
        return {"timeout": _seconds(seconds)}
    if seconds is not None:
        part.say(Level.Lost, "activeDeadlineSeconds", f"{seconds} is no timeout here", "write 1s or more")
    else:
        part.say(
            Level.Differs,
            "activeDeadlineSeconds",
            "is not set: Kubernetes lets a Job run for ever; here a run is ended after 1h",
            "write `timeout` if it may take longer",
        )
    return {}


def _retry(part: _Part) -> Document:
    given = part.take("backoffLimit", int)
    limit = _BACKOFF_LIMIT if given is None else given
    if not 0 <= limit <= _MOST_RETRIES:
        part.say(Level.Lost, "backoffLimit", f"{limit} attempts are too many", f"{_MOST_RETRIES} are written instead")
        limit = _MOST_RETRIES
    rules, on_interruption = _rules(part.part("podFailurePolicy"))
    if limit:
        said = f"is not set: Kubernetes tries {_BACKOFF_LIMIT} times more" if given is None else f"{given}"
        part.say(
            Level.Differs,
            "backoffLimit",
            f"{said}; here each attempt is a run of its own, and an overlap, a hold or a full pool holds it up as any other",
        )
    found: Document = {"retry": {"limit": limit}}
    if limit:
        found["retry"]["backoff"] = dict(_BACKOFF)
    if rules:
        found["retry"]["rules"] = rules
    if on_interruption:
        found["onInterruption"] = on_interruption
    return found


def _rules(policy: _Part) -> tuple[list[Document], str | None]:
    """Rules of a Pod failure policy that can be said here, and what becomes of interrupted runs."""
    found: list[Document] = []
    on_interruption = None
    for rule in policy.parts("rules"):
        action = rule.take("action", str)
        conditions = [_condition(one) for one in rule.parts("onPodConditions")]
        if action == "Ignore" and conditions == [("DisruptionTarget", "True")] and "onExitCodes" not in rule:
            on_interruption = "Rerun"
            rule.say(
                Level.Differs,
                "",
                "a disrupted Pod becomes `onInterruption: Rerun`: it is run again, five times at most, also when controller or node die",
            )
        elif conditions or action not in _ACTIONS:
            rule.lose("onExitCodes", "it belongs to a rule that cannot be carried over")
            rule.say(Level.Lost, "", f"{action} for {_named(conditions)} has no like here", "see retry.rules")
        elif (codes := _codes(rule.part("onExitCodes"))) and len(found) < _MOST_RULES:
            found.append({"exitCodes": codes, "action": _ACTIONS[action]})
        else:
            rule.say(Level.Lost, "", "the rule is left out, so a later one may match instead", "see retry.rules")
        rule.end()
    policy.end()
    return found, on_interruption


def _condition(part: _Part) -> tuple[str | None, str]:
    found = part.take("type", str), part.take("status", str) or "True"
    part.end()
    return found


def _codes(part: _Part) -> list[int]:
    """The exit codes of a rule; none when they cannot be said, which is told."""
    operator, values = part.take("operator", str), part.take("values", list) or []
    if (container := part.take("containerName", str)) is not None:
        part.say(
            Level.Differs,
            "containerName",
            f"the rule is about the exit code of the run, which is that of pod.container, not of {container!r} as such",
        )
    part.end()
    if operator != "In":
        part.say(Level.Lost, "operator", f"{operator} has no like here", "name the exit codes, or those to retry")
        return []
    codes = sorted({one for one in values if isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 255})
    if not codes or len(codes) != len(values) or len(codes) > _MOST_CODES:
        part.say(Level.Lost, "values", "exit codes are 1 to 255, and at most 64 of them", "split the rule")
        return []
    return codes


def _history(part: _Part, work: _Part) -> Document:
    found: Document = {}
    for name, ours in (("successfulJobsHistoryLimit", "succeeded"), ("failedJobsHistoryLimit", "failed")):
        count = part.take(name, int)
        if count is None:
            continue
        found[ours] = min(max(count, 0), _MOST_HISTORY)
        if found[ours] != count:
            part.say(Level.Lost, name, f"{count} is too many", f"{found[ours]} are written instead")
    seconds = work.take("ttlSecondsAfterFinished", int)
    if seconds is not None:
        found["maxAge"] = _seconds(max(seconds, 1))
        work.say(
            Level.Differs,
            "ttlSecondsAfterFinished",
            "becomes history.maxAge: how long a run is known at all, not only its Job",
            "write it longer, or leave it out, if you want to look back",
        )
    return found


_ONE = "a run is one Pod"
_UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str, str]] = {
    # field: values that say nothing, message, hint
    "completions": ((1,), f"{_ONE}, and completes once", "start the work several times with several jobs"),
    "parallelism": ((1,), _ONE, "share the work out among several jobs"),
    "completionMode": (("NonIndexed",), f"{_ONE}: there is no index", "give each part a job of its own"),
    "backoffLimitPerIndex": ((), f"{_ONE}: there is no index", "retry.limit counts for the run"),
    "maxFailedIndexes": ((), f"{_ONE}: there is no index", ""),
    "successPolicy": ((), f"{_ONE}: it succeeds when its Pod does", ""),
    "suspend": ((False,), "Jobs of runs are released at once", "suspend the ScheduledJob"),
    "manualSelector": ((False,), "Jobs of runs select their Pods by themselves", ""),
    "selector": ((), "Jobs of runs select their Pods by themselves", ""),
    "podReplacementPolicy": (("Failed",), "here a Pod is replaced once it has failed, as with Failed", ""),
    "managedBy": (("kubernetes.io/job-controller",), "Jobs of runs are left to Kubernetes", ""),
}


def _unsupported(part: _Part) -> None:
    for name, (harmless, message, hint) in _UNSUPPORTED.items():
        if name not in part:
            continue
        value = part.take(name, object)
        if any(value == one and type(value) is type(one) for one in harmless):
            part.say(Level.Dropped, name, "it says what is so anyway")
        else:
            part.say(Level.Lost, name, f"{_shown(value)}: {message}", hint)


def _named(conditions: Iterable[tuple[str | None, str]]) -> str:
    return ", ".join(f"{kind}={status}" for kind, status in conditions) or "exit codes"


def _seconds(count: int) -> str:
    return durations.format(min(timedelta(seconds=min(count, 10**10)), durations.MAXIMUM))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _escaped(name: str) -> str:
    """A step of a JSON pointer. Source: RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
