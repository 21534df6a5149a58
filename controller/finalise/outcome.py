"""How an execution counts: its state, its reason, a sentence, and whether a retry rule has something to say."""

import msgspec

from controller.domain.job import FailureReason, JobSpec, RetryAction, WatchdogTarget
from controller.domain.reasons import Reason
from controller.domain.records import Ending
from controller.domain.states import RunState
from controller.finalise import watch
from controller.finalise.watch import Finding


class Outcome(msgspec.Struct, frozen=True):
    """`failure` is set exactly for states that retry rules can name; `action` is what the first matching rule says, None without one."""

    state: RunState
    reason: Reason
    message: str = ""
    failure: FailureReason | None = None
    action: RetryAction | None = None
    watch: Finding | None = None


def of(spec: JobSpec, ending: Ending) -> Outcome:
    """Classify an ending. Pure. Source: design 03 "What each end causes"; cases S116, S121-S124, S196."""
    outcome = _unruled(spec, ending)
    if outcome.failure is None:
        return outcome
    action = _rule(spec, outcome.failure, ending.exit_code)
    if action is RetryAction.Ignore:
        return Outcome(RunState.Succeeded, Reason.Ignored, f"{outcome.message}; a retry rule says to ignore it")
    return msgspec.structs.replace(outcome, action=action)


def _unruled(spec: JobSpec, ending: Ending) -> Outcome:
    if ending.interrupted is not None:
        return Outcome(RunState.Crashed, Reason(ending.interrupted), Reason(ending.interrupted).sentence)
    if ending.cancelled_by is not None:
        return Outcome(RunState.Cancelled, Reason.CancelRequested, f"cancelled by {ending.cancelled_by}")
    if isinstance(spec.target, WatchdogTarget) and ending.start_error is None:
        return _watched(spec.target, ending)
    if ending.timed_out:
        return Outcome(RunState.TimedOut, Reason.Timeout, f"ran longer than {_span(spec)}", FailureReason.Timeout)
    if ending.start_error is not None:
        failure = ending.failure or FailureReason.StartFailed
        return Outcome(RunState.Failed, Reason(failure), ending.start_error, failure)
    if ending.failure is not None:
        return Outcome(RunState.Failed, Reason(ending.failure), Reason(ending.failure).sentence, ending.failure)
    if ending.signal is not None:
        return Outcome(RunState.Failed, Reason.Signal, f"ended by {ending.signal}", FailureReason.Signal)
    if ending.exit_code:
        return Outcome(RunState.Failed, Reason.ExitCode, f"exit code {ending.exit_code}", FailureReason.ExitCode)
    if ending.outputs_error is not None:
        return Outcome(RunState.Failed, Reason.OutputInvalid, ending.outputs_error)
    return Outcome(RunState.Succeeded, Reason.Completed)


def _watched(target: WatchdogTarget, ending: Ending) -> Outcome:
    finding = watch.read(target, ending)
    if finding.reason is Reason.WatchFailed:
        state = RunState.TimedOut if ending.timed_out else RunState.Failed
        reason = Reason.Timeout if ending.timed_out else Reason.WatchFailed
        failure = FailureReason.Timeout if ending.timed_out else FailureReason.ExitCode
        return Outcome(state, reason, finding.message, failure, watch=finding)
    return Outcome(RunState.Succeeded, finding.reason, finding.message, watch=finding)


def _rule(spec: JobSpec, failure: FailureReason, exit_code: int | None) -> RetryAction | None:
    for rule in spec.retry.rules:
        by_code = not rule.exit_codes or exit_code in rule.exit_codes
        by_reason = not rule.reasons or failure in rule.reasons
        if by_code and by_reason:
            return rule.action
    return None


def _span(spec: JobSpec) -> str:
    seconds = spec.timeout.total_seconds()
    return f"{seconds:g}s"
