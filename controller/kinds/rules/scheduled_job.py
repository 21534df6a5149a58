"""Rules of ScheduledJob, in the order of its fields."""

from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from typing import Any

from controller.base import durations, patterns, quantities
from controller.kinds.findings import Finding, Spec, shown
from controller.kinds.records import Reason
from controller.kinds.rules import trust
from controller.kinds.rules.lists import doubles
from controller.kinds.values import instant

_MOST_KEPT = 16 * 1024 * 1024  # bytes of each stream in the database
_ONE_ARGUMENT = 128 * 1024 - 1  # bytes; Linux' MAX_ARG_STRLEN without the NUL
_RESERVED = ("JOBWARDEN_", "TRACEPARENT")


def check(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one ScheduledJob. Pure."""
    spec: Spec = document["spec"]
    metadata: Spec = document["metadata"]
    if "schedule" in spec:
        yield from _schedule(spec["schedule"])
    if "trigger" in spec:
        yield from _trigger(spec["trigger"], metadata["name"])
    if "parameters" in spec:
        yield from _parameters(spec)
    if "shell" in spec:
        yield from _script(spec["shell"]["script"], "/spec/shell/script")
    if "watchdog" in spec:
        yield from _watchdog(spec, metadata["name"])
    if "pod" in spec:
        yield from _pod(spec)
    if "env" in spec:
        yield from _env(spec["env"], metadata)
        yield from _credentials(spec)
    if "concurrency" in spec:
        pools = [{"kind": "ResourcePool", **pool} for pool in spec["concurrency"].get("pools", ())]
        yield from doubles(pools, "/spec/concurrency/pools", "pool", "kind", "name")
    if "retry" in spec:
        yield from _retry(spec["retry"])
    if "approval" in spec:
        yield from _approval(spec["approval"])
    if "identity" in spec:
        yield from trust.attested(spec["identity"], "/spec/identity")
    if "trustContract" in spec:
        yield from trust.box(spec["trustContract"], "/spec/trustContract")
    if "credentialPolicy" in spec:
        yield from trust.handing_down(spec["credentialPolicy"], "/spec/credentialPolicy")
        yield from trust.given(spec)
    yield from _around(spec)


def _schedule(schedule: Spec) -> Iterator[Finding]:
    at, start, end = yield from _instants(schedule, "/spec/schedule", ("at", "startAt", "endAt"))
    if start and end and end <= start:
        yield _clash(
            "/spec/schedule/endAt", "endAt is not after startAt, so nothing would ever fire", "Swap them, or remove one"
        )
    if at and ((start and at < start) or (end and at > end)):
        yield _clash(
            "/spec/schedule/at",
            "the instant lies outside startAt and endAt, so it would never fire",
            "Remove startAt and endAt",
        )
    jitter, deadline = schedule.get("jitter"), schedule.get("startingDeadline")
    if jitter and deadline and durations.parse(jitter) >= durations.parse(deadline):
        yield _clash(
            "/spec/schedule/startingDeadline",
            f"jitter may delay an instant by {jitter}, and what starts later than {deadline} is missed",
            "Make startingDeadline longer than jitter",
        )


def _instants(values: Spec, pointer: str, fields: tuple[str, ...]) -> Generator[Finding, None, list[datetime | None]]:
    """Yields findings; returns the instants, None where there is none or it cannot be read."""
    found: list[datetime | None] = []
    for field in fields:
        try:
            found.append(instant(values[field]) if field in values else None)
        except ValueError:
            found.append(None)
            yield Finding(
                f"{pointer}/{field}",
                Reason.InvalidValue,
                f"{shown(values[field])} is a day that does not exist",
                "Check year, month and day",
            )
    return found


def _trigger(trigger: Spec, name: str) -> Iterator[Finding]:
    yield from doubles(trigger["after"], "/spec/trigger/after", "job", "job")
    for index, parent in enumerate(trigger["after"]):
        if parent["job"] == name:
            yield Finding(
                f"/spec/trigger/after/{index}/job",
                Reason.InvalidValue,
                "a job cannot run after itself",
                "Use schedule.every, or retry",
            )


def _parameters(spec: Spec) -> Iterator[Finding]:
    parameters = spec["parameters"]
    yield from doubles(parameters, "/spec/parameters", "parameter", "name")
    caused = next((field for field in ("schedule", "trigger") if field in spec), None)
    for index, parameter in enumerate(parameters):
        at = f"/spec/parameters/{index}"
        source = parameter.get("valueFrom", {})
        if "parentOutput" in source and "trigger" not in spec:
            yield _clash(
                f"{at}/valueFrom/parentOutput",
                "only a job with a trigger has a parent to take outputs from",
                "Add a trigger, or use default",
            )
        if caused and parameter.get("required") and "default" not in parameter and not source:
            message = f"nobody gives this parameter a value when the {caused} runs the job"
            yield _clash(f"{at}/required", message, "Add default or valueFrom, or remove required")
        if "pattern" in parameter:
            yield from _pattern(parameter, at)


def _pattern(parameter: Spec, at: str) -> Iterator[Finding]:
    try:
        matches = patterns.compile_pattern(parameter["pattern"])
    except ValueError as error:
        yield Finding(f"{at}/pattern", Reason.InvalidValue, str(error), "Test it with any RE2 tool")
        return
    if "default" in parameter and not matches(parameter["default"]):
        yield _clash(
            f"{at}/default",
            "the default does not match the pattern",
            "The whole value must match, as if the pattern stood between ^ and $",
        )


def _script(script: str, pointer: str) -> Iterator[Finding]:
    if len(script) > _ONE_ARGUMENT // 4 and (size := len(script.encode())) > _ONE_ARGUMENT:
        message = f"the script has {size} bytes, and the system passes at most {_ONE_ARGUMENT} to a shell"
        yield Finding(pointer, Reason.OutOfRange, message, "Put it into a file and call that")


def _pod(spec: Spec) -> Iterator[Finding]:
    for field in ("env", "envFrom", "image", "resources", "workingDir"):
        if spec.get(field):
            yield _clash(f"/spec/{field}", f"{field} of a Pod belongs into its template", "Move it to the container")
    if spec.get("executor") == "Local":
        yield _clash(
            "/spec/executor", "a Pod does not run beside the controller", "Remove executor, or use shell or exec"
        )
    containers = _containers(spec["pod"]["template"])
    if not containers:
        yield Finding(
            "/spec/pod/template",
            Reason.InvalidValue,
            "the template has no containers",
            "Write a PodTemplateSpec: {spec: {containers: [{name, image}]}}",
        )
    elif (name := spec["pod"].get("container", containers[0])) not in containers:
        message = f"the template has no container {shown(name)}"
        yield Finding("/spec/pod/container", Reason.InvalidValue, message, f"Use one of {', '.join(containers)}")


def _containers(template: Spec) -> list[str]:
    """The names of the containers, as far as they can be read. Pure."""
    body = template.get("spec")
    found = body.get("containers") if isinstance(body, dict) else None
    names = [one.get("name") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str)]


def _watchdog(spec: Spec, name: str) -> Iterator[Finding]:
    watchdog = spec["watchdog"]
    yield from _instants(watchdog, "/spec/watchdog", ("startedAt",))
    if "check" in watchdog:
        yield from _script(watchdog["check"]["script"], "/spec/watchdog/check/script")
        if "noOutputFor" in watchdog:
            yield _clash(
                "/spec/watchdog/noOutputFor",
                "only the runs of a job have output to watch",
                "Use maxDuration, or watch a job",
            )
    else:
        if "startedAt" in watchdog:
            yield _clash(
                "/spec/watchdog/startedAt", "each run of a watched job is timed from its own start", "Remove it"
            )
        if "maxDuration" not in watchdog and "noOutputFor" not in watchdog:
            yield _clash("/spec/watchdog", "there is nothing to watch for", "Add maxDuration or noOutputFor")
        if spec.get("credentialPolicy", {}).get("deliver"):
            yield _clash(
                "/spec/credentialPolicy/deliver",
                "a watchdog over a job starts nothing that could be given a credential",
                "Remove it, or watch with a check, which is a script",
            )
        if watchdog["job"] == name:
            yield Finding(
                "/spec/watchdog/job", Reason.InvalidValue, "a watchdog cannot watch itself", "Name another job"
            )
    if "workingDir" in spec:
        yield _clash(
            "/spec/workingDir", "workingDir is for shell and exec", "Remove it; a check script can change folder itself"
        )


def _env(env: list[Spec], metadata: Spec) -> Iterator[Finding]:
    yield from doubles(env, "/spec/env", "variable", "name")
    for index, variable in enumerate(env):
        if variable["name"].startswith(_RESERVED):
            message = "names that begin with JOBWARDEN_, and TRACEPARENT, are set by the controller"
            yield Finding(f"/spec/env/{index}/name", Reason.InvalidValue, message, "Choose another name")
        if path := variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"):
            table, key = _member(path)
            if table and key not in metadata.get(table, {}):
                message = f"the job's metadata.{table} has no {shown(key)}"
                yield Finding(
                    f"/spec/env/{index}/valueFrom/fieldRef/fieldPath",
                    Reason.InvalidValue,
                    message,
                    f"Add it to metadata.{table}",
                )


def _credentials(spec: Spec) -> Iterator[Finding]:
    """A policy by reference is looked into when a run is about to open."""
    if "credentialPolicyRef" in spec:
        return
    known = [one["name"] for one in spec.get("credentialPolicy", {}).get("deliver", ())]
    for index, variable in enumerate(spec["env"]):
        name = variable.get("valueFrom", {}).get("credentialRef", {}).get("name")
        if name is None or name in known:
            continue
        at = f"/spec/env/{index}/valueFrom/credentialRef/name"
        if "credentialPolicy" not in spec:
            yield _clash(at, "the job has no credential policy to take it from", "Add credentialPolicyRef")
        else:
            message = f"the job's credential policy delivers no {shown(name)}"
            hint = f"Use one of {', '.join(known)}" if known else "Add it to credentialPolicy.deliver"
            yield Finding(at, Reason.InvalidValue, message, hint)


def _member(path: str) -> tuple[str, str]:
    """`metadata.labels['a/b']` → ("labels", "a/b"); ("", "") for a field that is no table. Pure."""
    table, bracket, key = path.removeprefix("metadata.").partition("['")
    return (table, key.removesuffix("']")) if bracket else ("", "")


def _retry(retry: Spec) -> Iterator[Finding]:
    rules = retry.get("rules", ())
    for index, rule in enumerate(rules):
        at = f"/spec/retry/rules/{index}"
        if rule["action"] == "Retry" and not retry.get("limit"):
            yield _clash(
                f"{at}/action", "nothing is tried again while retry.limit is 0", "Set retry.limit, or remove the rule"
            )
        if rule.get("exitCodes") and rule.get("reasons") and "ExitCode" not in rule["reasons"]:
            yield _clash(
                f"{at}/exitCodes",
                "a failure with an exit code has the reason ExitCode, which the rule does not name",
                "Add ExitCode to reasons, or remove one of the lists",
            )
        if not rule.get("exitCodes") and not rule.get("reasons") and index + 1 < len(rules):
            yield _clash(
                at, "the rule matches everything, so the rules after it are never reached", "Move it to the end"
            )
    backoff = {"initial": "30s", "max": "1h", **retry.get("backoff", {})}
    if durations.parse(backoff["initial"]) > durations.parse(backoff["max"]):
        field = "initial" if "initial" in retry["backoff"] else "max"
        yield _clash(
            f"/spec/retry/backoff/{field}",
            f"initial ({backoff['initial']}) is longer than max ({backoff['max']})",
            "Raise max or lower initial",
        )


def _approval(approval: Spec) -> Iterator[Finding]:
    approvers = approval.get("approvers", ())
    needed = approval.get("approvals", 1)
    if approvers and not any(name.startswith("%") for name in approvers) and len(approvers) < needed:
        yield _clash(
            "/spec/approval/approvals",
            f"{needed} people must approve, but only {len(approvers)} may",
            "Lower approvals, or name more approvers",
        )


def _around(spec: Spec) -> Iterator[Finding]:
    if "finishBy" in spec.get("alerts", ()) and "schedule" not in spec:
        yield _clash(
            "/spec/alerts/finishBy",
            "finishBy is a wall time of the schedule's zone, and there is no schedule",
            "Use noSuccessFor or maxDuration",
        )
    if spec.get("errorBackoff", {}).get("enabled") and "schedule" not in spec:
        yield _clash(
            "/spec/errorBackoff/enabled", "there is no schedule to stretch", "Remove errorBackoff, or use retry.backoff"
        )
    if "keep" in spec.get("output", ()) and quantities.parse(spec["output"]["keep"]) > _MOST_KEPT:
        yield Finding(
            "/spec/output/keep",
            Reason.OutOfRange,
            f"at most {quantities.format(_MOST_KEPT)} of output are kept in the database",
            "The run log keeps more",
        )


def _clash(pointer: str, message: str, hint: str) -> Finding:
    return Finding(pointer, Reason.InvalidCombination, message, hint)
