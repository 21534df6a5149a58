"""What documents mean, beyond their shape (class B of the design): alone, as a graph of jobs, and by what they refer to.

`read` asks about each document alone, `plan` about all of them together. A problem of the graph is an error of the document; a reference to
something that does not exist is not: the job is stored and waits. Invariant: pure, and linear in what is looked at.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from controller.base import cel
from controller.domain import pods
from controller.domain.job import ExecutorKind, JobSpec, PodTarget, Schedule, WatchdogTarget
from controller.domain.reasons import Reason
from controller.domain.resolve import Defaults
from controller.gates import authorization
from controller.proofs import certificates, keys
from controller.reconcile import graph
from controller.reconcile.desired import View
from controller.reconcile.records import CLUSTER_POOL, JOB, Blocked, Document, Entry, Key, Problem
from controller.schedule.check import ScheduleProblem, check_schedule

MAX_DEPTH = 10
"""Triggers between a root and the last of its descendants. Source: case S139."""

VARIABLES = frozenset({"parents", "outputs", "parameters"})
"""What `trigger.if` may name."""

_AFTER = "/spec/trigger/after"
_SHOWN = 12


# alone


def alone(spec: JobSpec, namespace: str, settings: Defaults, *, single_cron: bool) -> Iterator[Problem]:
    """What is wrong with a job whatever else there is: cron, time zone, window, condition, and where it would run. `single_cron`: written as `cron`, not as `crons`."""
    if spec.schedule is not None:
        yield from _schedule(spec.schedule, single=single_cron)
    if spec.trigger is not None and spec.trigger.condition is not None:
        yield from _condition(spec)
    yield from placed(spec, namespace, settings)


def placed(spec: JobSpec, namespace: str, settings: Defaults) -> Iterator[Problem]:
    """Why the job cannot run where it would; nothing where it is not known which settings it will meet. Asked again when a run starts."""
    if settings.executors and spec.executor not in settings.executors and not _runs_nothing(spec):
        pointer = "/spec/pod" if isinstance(spec.target, PodTarget) else "/spec/executor"
        message = f"this controller does not run jobs with the executor {spec.executor}"
        hint = f"Use {' or '.join(settings.executors)}, or add it to settings.executors of the controller"
        yield Problem(pointer, Reason.ExecutorNotAllowed, message, hint)
    elif spec.executor is ExecutorKind.Kubernetes and not pods.is_looked_after(namespace, settings):
        message = f"this controller looks after no Pods in the namespace {namespace}"
        hint = f"Use {' or '.join(settings.pod_namespaces)}, or have the controller watch this one as well"
        yield Problem("/metadata/namespace", Reason.ExecutorNotAllowed, message, hint)
    elif isinstance(spec.target, PodTarget):
        yield from _template(spec.target, settings)
    elif spec.executor is ExecutorKind.Kubernetes:
        if spec.image is None:
            message = "the job runs in a container, and nobody says of which image"
            yield Problem("/spec", Reason.Invalid, message, "Add spec.image, or settings.image of the controller")
    elif settings.executors:
        yield from _only_in_pods(spec, settings)


def _runs_nothing(spec: JobSpec) -> bool:
    return isinstance(spec.target, WatchdogTarget) and spec.target.job is not None


def _template(target: PodTarget, settings: Defaults) -> Iterator[Problem]:
    if not settings.executors:
        return
    for demand in pods.demands(target.template, settings.pods):
        hint = f"Remove it, or have settings.pods.allow.{demand.setting} of the controller allow it"
        yield Problem(f"/spec/pod/template{demand.pointer}", Reason.PodNotAllowed, demand.message, hint)


def _only_in_pods(spec: JobSpec, settings: Defaults) -> Iterator[Problem]:
    """What a process beside the controller cannot be given."""
    given = {
        "/spec/image": spec.image != settings.image,
        "/spec/resources": bool(spec.resources),
        "/spec/envFrom": bool(spec.env_from),
    } | {
        f"/spec/env/{index}/valueFrom": one.secret_key_ref is not None or one.config_map_key_ref is not None
        for index, one in enumerate(spec.env)
    }
    for pointer, there in given.items():
        if there:
            message = "only Pods have it, and this job runs as a process of the controller's host"
            yield Problem(pointer, Reason.Invalid, message, "Remove it, or use executor: Kubernetes")


def _schedule(schedule: Schedule, *, single: bool) -> Iterator[Problem]:
    for problem in check_schedule(schedule):
        yield Problem(_schedule_pointer(problem, single=single), Reason.Invalid, _with_offset(problem), problem.hint)


def _schedule_pointer(problem: ScheduleProblem, *, single: bool) -> str:
    path = ("cron", *problem.path[2:]) if single and problem.path[:1] == ("crons",) else problem.path
    return "/".join(("/spec/schedule", *map(str, path)))


def _with_offset(problem: ScheduleProblem) -> str:
    return problem.message if problem.offset is None else f"{problem.message} (character {problem.offset + 1})"


def _condition(spec: JobSpec) -> Iterator[Problem]:
    assert spec.trigger is not None
    try:
        cel.compile(spec.trigger.condition or "", VARIABLES)
    except cel.CelError as error:
        yield Problem("/spec/trigger/if", Reason.Invalid, str(error), f"It may name {', '.join(sorted(VARIABLES))}")


def policy(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the rules of an AuthorizationPolicy, whatever else there is."""
    for index, rule in enumerate(spec.get("rules", ())):
        try:
            cel.compile(rule["if"], authorization.VARIABLES)
        except cel.CelError as error:
            hint = f"It may name {', '.join(sorted(authorization.VARIABLES))}"
            yield Problem(f"/spec/rules/{index}/if", Reason.Invalid, str(error), hint)
    if spec.get("proof"):
        yield from _proof(spec["proof"])


def _proof(said: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys and certificates that stand in a document are good, or the document is not."""
    inline = (said.get("jwks") or {}).get("keySet")
    if inline is not None:
        try:
            keys.declared(inline.encode())
        except keys.BadKeys as error:
            hint = "Copy the JWK Set as its owner publishes it"
            yield Problem("/spec/proof/jwks/keySet", Reason.Invalid, str(error), hint)
    for field in ("serverAuthorities", "clientAuthorities"):
        if field in said:
            try:
                certificates.authorities(said[field])
            except ValueError:
                message = "it cannot be read as certificates in PEM"
                yield Problem(
                    f"/spec/proof/{field}", Reason.Invalid, message, "Copy them whole, with their first and last lines"
                )


# together: what makes a document wrong


def jobs_together(view: View, moved: Collection[Key], changed: Mapping[Key, Document]) -> dict[Key, list[Problem]]:
    """Which of the `changed` documents cannot be accepted with all others in force: cycles, depth, outputs of strangers.

    `moved` are those of them that are new or have other parents than before: only they can have caused a cycle or too great a depth.
    """
    jobs = [key for key in moved if key.kind == JOB]
    found = {key: [problem] for key, problem in _cycles(view, jobs).items()}
    if found:
        return found  # depth and ancestors mean nothing while there are cycles
    deep = _too_deep(view, jobs)
    for key, problem in deep.items():
        found.setdefault(key, []).append(problem)
    for key, document in changed.items():
        if document.entry.facts.outputs and key not in deep:
            problems = list(_strangers(view, document))
            if problems:
                found.setdefault(key, []).extend(problems)
    return found


def _cycles(view: View, moved: Collection[Key]) -> dict[Key, Problem]:
    found: dict[Key, Problem] = {}
    for circle in graph.cycles(view, moved):
        for key in circle:
            if key in moved:
                path = graph.path_back(view, key, circle)
                way = " → ".join(one.name for one in path[:_SHOWN]) + (" → …" if len(path) > _SHOWN else "")
                found[key] = Problem(
                    _AFTER,
                    Reason.Invalid,
                    f"the trigger leads in a circle: {way}",
                    "Remove one of these triggers",
                )
    return found


def _too_deep(view: View, moved: Collection[Key]) -> dict[Key, Problem]:
    """Documents below too many others, and those that push what hangs on them below too many (W21: the whole subtree counts)."""
    found: dict[Key, Problem] = {}
    depths = graph.depths(view, moved)
    fresh = set(moved)
    heights = graph.heights(view, moved, without=fresh)
    for key in moved:
        depth, (height, deepest) = depths[key], heights[key]
        if depth > MAX_DEPTH:
            message = f"the job is {depth} triggers away from its root, and {MAX_DEPTH} are allowed"
            found[key] = Problem(_AFTER, Reason.Invalid, message, "Shorten the chain")
        elif depth + height > MAX_DEPTH:
            message = f"with this trigger {deepest.name} would be {depth + height} triggers away from its root, and {MAX_DEPTH} are allowed"
            found[key] = Problem(_AFTER, Reason.Invalid, message, "Shorten the chain")
    return found


def _strangers(view: View, document: Document) -> Iterator[Problem]:
    assert document.spec is not None
    home = document.entry.key.namespace
    above, whole = graph.ancestors(view, document.entry.key)
    if not whole:
        return  # a parent is missing, so nobody can tell yet
    for index, parameter in enumerate(document.spec.parameters):
        if parameter.parent_output is None:
            continue
        job = Key(JOB, home, parameter.parent_output[0])
        if job not in above and view.get(job) is not None:
            yield Problem(
                f"/spec/parameters/{index}/valueFrom/parentOutput/job",
                Reason.Invalid,
                f"{job.name} is no ancestor of this job, so it has no outputs in the same chain",
                "Name a parent, or a parent of a parent",
            )


# together: what makes a job wait


def references(view: View, entry: Entry) -> Iterator[Problem]:
    """What the job refers to and cannot have (yet)."""
    facts, home = entry.facts, entry.key.namespace
    for index, name in enumerate(facts.parents):
        yield from _missing(view, Key(JOB, home, name), f"{_AFTER}/{index}/job")
    if facts.watched is not None:
        yield from _missing(view, Key(JOB, home, facts.watched), "/spec/watchdog/job")
    yield from _outputs(view, entry)
    for index, (kind, name, slots) in enumerate(facts.pools):
        yield from _pool(view, entry.key, Key(kind, "" if kind == CLUSTER_POOL else home, name), slots, index)
    for kind, name in facts.targets:
        key = Key(kind, "" if kind.startswith("Cluster") else home, name)
        yield from _admitted(view, entry.key, key, "/spec/notifications")
    for kind, name, pointer in facts.trust:
        yield from _missing(view, Key(kind, "" if kind.startswith("Cluster") else home, name), pointer)


def _missing(view: View, key: Key, pointer: str) -> Iterator[Problem]:
    if view.get(key) is None:
        yield Problem(
            pointer, Reason.ReferenceNotFound, f"{key} does not exist", "Nothing runs until it does; check the name"
        )


def _outputs(view: View, entry: Entry) -> Iterator[Problem]:
    if not entry.facts.outputs:
        return
    home = entry.key.namespace
    above, whole = graph.ancestors(view, entry.key)
    for name in entry.facts.outputs:
        key = Key(JOB, home, name)
        if view.get(key) is None:
            yield from _missing(view, key, "/spec/parameters")
        elif whole and key not in above:
            message = f"{key} is no ancestor of this job any more, so it has no outputs in the same chain"
            yield Problem(
                "/spec/parameters", Reason.ReferenceNotFound, message, "Name a parent, or a parent of a parent"
            )


def _pool(view: View, job: Key, key: Key, slots: int, index: int) -> Iterator[Problem]:
    pointer = f"/spec/concurrency/pools/{index}"
    problems = list(_admitted(view, job, key, f"{pointer}/name"))
    yield from problems
    pool = view.get(key)
    if pool is not None and not problems and slots > pool.facts.slots:
        message = f"the job needs {slots} slots of {key}, which has {pool.facts.slots}"
        yield Problem(f"{pointer}/slots", Reason.InsufficientSlots, message, "Ask for fewer slots, or enlarge the pool")


def _admitted(view: View, job: Key, key: Key, pointer: str) -> Iterator[Problem]:
    target = view.get(key)
    if target is None:
        yield from _missing(view, key, pointer)
    elif not key.namespace and not {"*", job.namespace} & set(target.facts.namespaces):
        message = f"{key} does not admit jobs of namespace {job.namespace}"
        yield Problem(pointer, Reason.ReferenceNotFound, message, "Add the namespace to its allowedNamespaces")


def blocked_of(view: View, entry: Entry) -> Blocked | None:
    """Why the job must not run, in one sentence; None when it may."""
    problems = list(references(view, entry))
    if not problems:
        return None
    return Blocked(problems[0].reason, "; ".join(dict.fromkeys(problem.message for problem in problems)))


def to_look_at(view: View, changed: Iterable[Key], moved: Iterable[Key]) -> set[Key]:
    """The jobs whose references a change may have touched: those that changed, whoever names them, and what hangs on moved jobs."""
    found: set[Key] = set()
    for key in changed:
        if key.kind == JOB:
            found.add(key)
        found |= view.users(key)
    found |= graph.descendants(view, [key for key in moved if key.kind == JOB])
    return {key for key in found if key.kind == JOB and view.get(key) is not None}
