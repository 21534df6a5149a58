"""The guards in their order (design 03): hold, deadline, parameters, approval, pools, overlap, idempotency. The first that objects decides."""

from collections.abc import Callable
from datetime import datetime, timedelta

from controller.base import durations
from controller.domain.job import ConcurrencyPolicy, Gate
from controller.domain.reasons import Reason
from controller.domain.states import ApprovalState, Cause
from controller.guards.facts import Facts, PoolFacts
from controller.guards.verdicts import Allow, Ask, Defer, Miss, Replace, Skip, Verdict

_BASE_DEFERRAL = timedelta(seconds=10)
_LONGEST_DEFERRAL = timedelta(minutes=5)
_FAR = timedelta(days=3650)

# They replace the run that they follow, so overlap makes them wait instead of dropping them.
_FOLLOW_UPS = frozenset({Cause.Retry, Cause.Replay})


def judge(facts: Facts) -> Verdict:
    """The verdict on one dispatch. Pure; never raises."""
    for guard in GUARDS:
        verdict = guard(facts)
        if verdict is not None:
            return verdict
    return Allow()


def deferral(depth: int) -> timedelta:
    """How long to wait when nothing wakes us: min(5 min, 10 s · clamp(depth + 1, 1, 12)). Pure. Source: case S061."""
    return min(_LONGEST_DEFERRAL, _BASE_DEFERRAL * max(1, min(12, depth + 1)))


def deadline_of(facts: Facts) -> datetime | None:
    """The last instant at which a scheduled dispatch may start, None if it is never too late or was not scheduled. Pure."""
    schedule = facts.spec.schedule
    if facts.dispatch.cause is not Cause.Schedule or schedule is None or schedule.starting_deadline is None:
        return None
    return facts.dispatch.scheduled_for + schedule.starting_deadline


def _hold(facts: Facts) -> Verdict | None:
    hold = facts.hold
    if hold is None or (hold.until is not None and hold.until <= facts.now):
        return None
    # Whoever releases the hold, or its end, wakes the dispatch; a deadline still makes it Missed on time.
    return Defer(Reason.Held, f"held by {hold.by}: {hold.reason}", _in_time(facts, hold.until or facts.now + _FAR))


def _deadline(facts: Facts) -> Verdict | None:
    deadline = deadline_of(facts)
    if deadline is None or facts.now <= deadline:
        return None
    over = facts.now - facts.dispatch.scheduled_for
    late = durations.format(over - over % timedelta(seconds=1))
    return Miss(Reason.DeadlineExceeded, f"could not start within schedule.startingDeadline; it is {late} late")


def _parameters(facts: Facts) -> Verdict | None:
    if facts.missing:
        return Skip(Reason.ParameterMissing, f"no value for parameter {', '.join(facts.missing)}")
    if facts.invalid:
        return Skip(
            Reason.ParameterInvalid, f"the value of parameter {', '.join(facts.invalid)} does not match its pattern"
        )
    return None


def _approval(facts: Facts) -> Verdict | None:
    policy = facts.spec.approval
    if not policy.required or (policy.gate is Gate.Chain and facts.dispatch.cause is not Cause.Chain):
        return None
    approval = facts.approval
    if approval is not None and approval.state is ApprovalState.Approved and approval.digest == facts.effective_digest:
        return None
    if facts.pending_approvals >= policy.max_pending:
        return Skip(
            Reason.ApprovalBacklogFull,
            f"{facts.pending_approvals} approvals of this job are open, approval.maxPending allows no more",
        )
    return Ask(policy.message or f"{facts.dispatch.namespace}/{facts.dispatch.job} asks to run")


def _pools(facts: Facts) -> Verdict | None:
    for pool in facts.pools:
        if pool.slots is None:
            return Defer(
                Reason.PoolNotFound,
                f"pool {_pool_name(pool)} does not exist",
                _later(facts),
                # Not in line for the others: nobody shall wait behind something that may never come.
                (pool.key,),
            )
    for pool in facts.pools:
        if pool.ahead or pool.held + pool.wanted > (pool.slots or 0):
            return Defer(Reason.PoolFull, _pool_message(pool), _later(facts), _pool_keys(facts))
    return None


def _overlap(facts: Facts) -> Verdict | None:
    policy = facts.spec.concurrency.policy
    if policy is ConcurrencyPolicy.Allow or not (facts.live or facts.ahead):
        return None
    what = "a run of this job is open" if facts.live else "an earlier dispatch of this job waits"
    wait = (job_key(facts.dispatch.job_id),)
    patient = facts.dispatch.catch_up or facts.dispatch.cause in _FOLLOW_UPS
    if policy is ConcurrencyPolicy.Queue or (policy is ConcurrencyPolicy.Forbid and patient):
        return Defer(Reason.Overlap, what, _later(facts), wait)
    if policy is ConcurrencyPolicy.Forbid:
        return Skip(Reason.Forbidden, what)
    return Replace(what, _later(facts), wait)


def _idempotency(facts: Facts) -> Verdict | None:
    if facts.key_holder is None or facts.key_holder == facts.dispatch.id:
        return None
    return Skip(Reason.DuplicateKey, f"the key {facts.dispatch.key!r} was used by {facts.key_holder}")


GUARDS: tuple[Callable[[Facts], Verdict | None], ...] = (
    _hold,
    _deadline,
    _parameters,
    _approval,
    _pools,
    _overlap,
    _idempotency,
)


def job_key(job_id: int) -> str:
    """What a dispatch waits for when its own job is busy. Pure."""
    return f"job:{job_id}"


def _pool_keys(facts: Facts) -> tuple[str, ...]:
    return tuple(pool.key for pool in facts.pools)


def _pool_name(pool: PoolFacts) -> str:
    """`namespace/name`, the name alone for a pool of the cluster."""
    return pool.key.removeprefix("pool:").removeprefix("/")


def _pool_message(pool: PoolFacts) -> str:
    name = _pool_name(pool)
    if pool.ahead:
        return f"somebody earlier waits for {name}"
    return f"{name} has {max(0, (pool.slots or 0) - pool.held)} of {pool.slots} slots free, {pool.wanted} needed"


def _later(facts: Facts) -> datetime:
    return _in_time(facts, facts.now + deferral(facts.dispatch.deferrals))


def _in_time(facts: Facts, wanted: datetime) -> datetime:
    """`wanted`, but no later than the instant at which the dispatch becomes Missed."""
    deadline = deadline_of(facts)
    return wanted if deadline is None else min(wanted, deadline + timedelta(milliseconds=1))
