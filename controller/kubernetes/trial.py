"""What an API server thinks of the Pods of jobs, before any of them runs: a Job that is not made (class B of page 02 of the design).

The pipeline asks about documents that changed. Invariant: only what the server says of the document counts; one that cannot be asked now, or does not let us ask,
refuses nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence

from controller.domain.job import ExecutorKind, JobSpec, PodTarget
from controller.domain.reasons import Reason
from controller.kubernetes import podspec
from controller.kubernetes.objects import ApiFailed
from controller.kubernetes.workloads import Workloads
from controller.reconcile.records import Document, Key, Problem

_AT_ONCE = 8
_VERDICTS = (400, 422)
_SHAPELESS = (
    "this is no template of a Pod: each container is a mapping with a name of its own, and its env a list of variables"
)


class Trial:
    """Asks one API server."""

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def examine(self, documents: Sequence[Document]) -> Mapping[Key, Problem]:
        """What is wrong with those whose Pods are of their author's making."""
        wanted = [(one.entry.key, one.spec) for one in documents if one.spec is not None and _worth_asking(one.spec)]
        found = await asyncio.gather(*(self._ask(key, spec) for key, spec in wanted))
        return {key: problem for (key, _), problem in zip(wanted, found, strict=True) if problem is not None}

    async def _ask(self, key: Key, spec: JobSpec) -> Problem | None:
        try:
            manifest = podspec.trial(key.namespace, key.name, spec)
        except (AttributeError, LookupError, TypeError, ValueError):
            # Somebody's template of no known shape must not stop the reconciliation of all others.
            return Problem(
                "/spec/pod/template", Reason.Invalid, _SHAPELESS, "`kubectl explain podtemplate.template.spec`"
            )
        async with self._room:
            try:
                await self._workloads.try_job(manifest)
            except ApiFailed as error:
                return _problem(spec, error) if error.code in _VERDICTS else None
        return None


def _worth_asking(spec: JobSpec) -> bool:
    return spec.executor is ExecutorKind.Kubernetes and (isinstance(spec.target, PodTarget) or bool(spec.resources))


def _problem(spec: JobSpec, error: ApiFailed) -> Problem:
    in_template = isinstance(spec.target, PodTarget)
    where = "/spec/pod/template" if in_template else "/spec/resources"
    hint = "Paths count from the Job that a run would be; `spec.template` is the template" if in_template else None
    return Problem(where, Reason.Invalid, str(error), hint or "`kubectl explain pod.spec.containers.resources`")
