"""The state machines, one table each.

The store does compare-and-set with them, the CHECK constraints, the diagrams of ARCHITECTURE.md and the all-pairs tests are made
from them. Causes and words are those of page 03 of the design.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from controller.base.errors import IllegalTransition

State = TypeVar("State", bound=StrEnum)


class Cause(StrEnum):
    """Why a dispatch exists."""

    Schedule = "Schedule"
    Manual = "Manual"
    Chain = "Chain"
    Retry = "Retry"
    Replay = "Replay"


class DispatchState(StrEnum):
    """Where one intent to run stands."""

    Pending = "Pending"
    Claimed = "Claimed"
    AwaitingApproval = "AwaitingApproval"
    Done = "Done"
    Skipped = "Skipped"
    Missed = "Missed"
    Cancelled = "Cancelled"


class RunState(StrEnum):
    """Where one execution, or one refusal, stands."""

    Running = "Running"
    Succeeded = "Succeeded"
    Failed = "Failed"
    TimedOut = "TimedOut"
    Cancelled = "Cancelled"
    Crashed = "Crashed"
    Denied = "Denied"


class ApprovalState(StrEnum):
    """Where one request for a decision stands."""

    Pending = "Pending"
    Approved = "Approved"
    Rejected = "Rejected"
    TimedOut = "TimedOut"
    Superseded = "Superseded"
    Cancelled = "Cancelled"


class OutboxState(StrEnum):
    """Where one notification stands."""

    Pending = "Pending"
    Sent = "Sent"
    Failed = "Failed"


DISPATCH: Mapping[DispatchState, frozenset[DispatchState]] = {
    DispatchState.Pending: frozenset({DispatchState.Claimed, DispatchState.Cancelled, DispatchState.Missed}),
    DispatchState.Claimed: frozenset(
        {
            DispatchState.Pending,
            DispatchState.AwaitingApproval,
            DispatchState.Skipped,
            DispatchState.Missed,
            DispatchState.Cancelled,
            DispatchState.Done,
        }
    ),
    DispatchState.AwaitingApproval: frozenset({DispatchState.Pending, DispatchState.Missed, DispatchState.Cancelled}),
    DispatchState.Done: frozenset(),
    DispatchState.Skipped: frozenset(),
    DispatchState.Missed: frozenset(),
    DispatchState.Cancelled: frozenset(),
}

RUN: Mapping[RunState, frozenset[RunState]] = {
    # Running → Running is adoption by another replica under a new owner token.
    RunState.Running: frozenset(
        {
            RunState.Running,
            RunState.Succeeded,
            RunState.Failed,
            RunState.TimedOut,
            RunState.Cancelled,
            RunState.Crashed,
        }
    ),
    RunState.Succeeded: frozenset(),
    RunState.Failed: frozenset(),
    RunState.TimedOut: frozenset(),
    RunState.Cancelled: frozenset(),
    RunState.Crashed: frozenset(),
    RunState.Denied: frozenset(),
}

APPROVAL: Mapping[ApprovalState, frozenset[ApprovalState]] = {
    ApprovalState.Pending: frozenset(
        {
            ApprovalState.Approved,
            ApprovalState.Rejected,
            ApprovalState.TimedOut,
            ApprovalState.Superseded,
            ApprovalState.Cancelled,
        }
    ),
    # An approval answers one dispatch; if the job's digest changes before the run opens, the answer no longer counts.
    ApprovalState.Approved: frozenset({ApprovalState.Superseded, ApprovalState.Cancelled}),
    ApprovalState.Rejected: frozenset(),
    ApprovalState.TimedOut: frozenset(),
    ApprovalState.Superseded: frozenset(),
    ApprovalState.Cancelled: frozenset(),
}

WAITING = (DispatchState.Pending, DispatchState.Claimed, DispatchState.AwaitingApproval)
ENDED_RUN = frozenset(state for state, to in RUN.items() if not to)


def step(table: Mapping[State, frozenset[State]], old: State, new: State) -> State:
    """Give `new` if the table allows it from `old`. Pure. Errors: IllegalTransition."""
    if new not in table[old]:
        raise IllegalTransition(f"{type(old).__name__} may not go from {old} to {new}")
    return new


def sources_of(table: Mapping[State, frozenset[State]], new: State) -> frozenset[State]:
    """The states from which `new` may be reached: what a compare-and-set compares with. Pure."""
    return frozenset(old for old, to in table.items() if new in to)
