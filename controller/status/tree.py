"""A chain as one thing: every run and waiting dispatch that goes back to one root run, as a tree.

`views` hands over rows. Pure. Invariant: every row is in the tree exactly once, also when the row that it points at has been pruned.
"""

from collections.abc import Sequence

from controller.domain.records import Dispatch, Run
from controller.domain.states import WAITING, RunState
from controller.status.shapes import API_VERSION, Shape
from controller.status.text import maybe, rfc3339

_WORST = (RunState.Crashed, RunState.TimedOut, RunState.Failed, RunState.Denied, RunState.Cancelled)


def tree(root: str, namespace: str, runs: Sequence[Run], dispatches: Sequence[Dispatch]) -> Shape:
    """The tree. Below each run are the runs that it triggered (of several parents the last one counts) and the next attempt of it."""
    nodes = {run.name: _run_node(run) for run in runs}
    top: list[Shape] = []
    for run in runs:
        _home(nodes, run.name, run.parents, run.retry_of, top).append(nodes[run.name])
    for dispatch in dispatches:
        _home(nodes, dispatch.id, dispatch.parents, dispatch.retry_of, top).append(_dispatch_node(dispatch))
    return {
        "apiVersion": API_VERSION,
        "kind": "Tree",
        "metadata": {"name": root, "namespace": namespace},
        "status": {"state": state_of(runs, dispatches), "runs": len(runs), "nodes": top},
    }


def state_of(runs: Sequence[Run], dispatches: Sequence[Dispatch]) -> str:
    """Running while anything runs or waits, else the worst end of a last attempt, else Succeeded. Pure."""
    if any(run.state is RunState.Running for run in runs) or any(one.state in WAITING for one in dispatches):
        return RunState.Running.value
    again = {run.retry_of for run in runs}
    ends = {run.state for run in runs if run.name not in again}
    return next((state.value for state in _WORST if state in ends), RunState.Succeeded.value)


def _home(
    nodes: dict[str, Shape], name: str, parents: Sequence[str], retry_of: str | None, top: list[Shape]
) -> list[Shape]:
    """The list of children that a node belongs to."""
    for above in (retry_of, *reversed(parents)):
        if above is not None and above != name and above in nodes:
            children: list[Shape] = nodes[above]["children"]
            return children
    return top


def _run_node(run: Run) -> Shape:
    return {
        "kind": "Run",
        "name": run.name,
        "job": run.job,
        "cause": run.cause.value,
        "attempt": run.attempt,
        "state": run.state.value,
        "reason": run.reason,
        "startedAt": maybe(run.started_at),
        "finishedAt": maybe(run.finished_at),
        "children": [],
    }


def _dispatch_node(dispatch: Dispatch) -> Shape:
    return {
        "kind": "Dispatch",
        "name": dispatch.id,
        "job": dispatch.job,
        "cause": dispatch.cause.value,
        "attempt": dispatch.attempt,
        "state": dispatch.state.value,
        "reason": dispatch.reason,
        "notBefore": rfc3339(dispatch.not_before),
        "children": [],
    }
