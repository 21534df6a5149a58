"""Which children an end triggers, with which parameters. A child whose `if` says no is recorded as Skipped, so that `explain` can tell."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from controller.base import cel
from controller.domain.job import Join, When
from controller.domain.reasons import Reason
from controller.domain.records import Dispatch, Run
from controller.domain.states import Cause, DispatchState, RunState
from controller.finalise import parameters
from controller.finalise.facts import ChildFacts, EndFacts, ParentEnd

_GOOD = frozenset({RunState.Succeeded})
_BAD = frozenset({RunState.Failed, RunState.TimedOut, RunState.Crashed})
_SUITABLE: Mapping[When, frozenset[RunState]] = {When.Succeeded: _GOOD, When.Failed: _BAD, When.Finished: _GOOD | _BAD}

VARIABLES = frozenset({"parents", "outputs", "parameters"})
"""What a trigger's `if` may name."""


def triggered(facts: EndFacts, ended: Run, new_id: Callable[[datetime], str]) -> tuple[Dispatch, ...]:
    """A dispatch for every child that the final end of `ended` triggers. Pure, but for the ids. Source: design 02 `trigger`, case S136, S208."""
    dispatches = (_child(facts, child, ended, new_id) for child in facts.children)
    return tuple(dispatch for dispatch in dispatches if dispatch is not None)


def _child(facts: EndFacts, child: ChildFacts, ended: Run, new_id: Callable[[datetime], str]) -> Dispatch | None:
    trigger = child.job.spec.trigger
    if trigger is None or ended.state not in _SUITABLE[child.when]:
        return None
    ends = {**child.others, ended.job: _end_of(ended)}
    if trigger.join is Join.All:
        suitable = all(p.job in ends and ends[p.job].state in _SUITABLE[p.when] for p in trigger.after)
        if child.fired or not suitable:
            return None
    named = {parent.job for parent in trigger.after}
    parents = {name: end for name, end in ends.items() if name in named}
    succeeded = {name: end.outputs for name, end in ends.items() if end.state is RunState.Succeeded}
    resolved = parameters.resolve(child.job.spec.parameters, {}, succeeded)
    state, reason, message = _verdict(trigger.condition, parents, resolved, child)
    instant = facts.now + trigger.delay
    return Dispatch(
        id=new_id(facts.now),
        job_id=child.job.id,
        namespace=child.job.namespace,
        job=child.job.name,
        cause=Cause.Chain,
        state=state,
        reason=reason,
        message=message,
        scheduled_for=instant,
        not_before=instant,
        created_at=facts.now,
        priority=child.job.spec.priority,
        root=ended.root,
        parents=tuple(sorted(end.run for end in parents.values())) if trigger.join is Join.All else (ended.name,),
        parameters=dict(resolved.values),
        actor=ended.actor,
        ended_at=None if state is DispatchState.Pending else facts.now,
    )


def _verdict(
    condition: str | None, parents: Mapping[str, ParentEnd], resolved: parameters.Resolved, child: ChildFacts
) -> tuple[DispatchState, Reason | None, str | None]:
    if condition is not None:
        try:
            if not cel.compile(condition, VARIABLES).evaluate(_variables(parents, resolved.values)):
                return DispatchState.Skipped, Reason.ConditionFalse, f"trigger.if is false: {condition}"
        except cel.CelError as error:
            return DispatchState.Skipped, Reason.ConditionFailed, f"trigger.if failed, which counts as false: {error}"
    if resolved.missing:
        return DispatchState.Skipped, Reason.ParameterMissing, f"no value for parameter {', '.join(resolved.missing)}"
    if resolved.invalid:
        named = ", ".join(resolved.invalid)
        return (
            DispatchState.Skipped,
            Reason.ParameterInvalid,
            f"the value of parameter {named} does not match its pattern",
        )
    if child.waiting >= child.job.spec.concurrency.max_queued:
        return DispatchState.Skipped, Reason.QueueFull, f"{child.waiting} dispatches of this job wait already"
    return DispatchState.Pending, None, None


def _variables(parents: Mapping[str, ParentEnd], values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "parents": {
            name: {
                "state": str(end.state),
                "reason": end.reason or "",
                "exitCode": end.exit_code if end.exit_code is not None else -1,
                "run": end.run,
            }
            for name, end in parents.items()
        },
        "outputs": {
            name: {"stdout": end.stdout.decode("utf-8", "replace"), "values": dict(end.outputs)}
            for name, end in parents.items()
        },
        "parameters": dict(values),
    }


def _end_of(run: Run) -> ParentEnd:
    return ParentEnd(run.job, run.name, run.state, run.reason, run.exit_code, run.output.stdout, run.outputs)
