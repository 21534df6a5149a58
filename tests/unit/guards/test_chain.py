"""The guards, one fact at a time and in random combinations."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.job import (
    ApprovalPolicy,
    Concurrency,
    ConcurrencyPolicy,
    Gate,
    JobSpec,
    Schedule,
    ShellTarget,
)
from controller.domain.records import Approval, Dispatch, Hold
from controller.domain.states import ApprovalState, Cause, DispatchState
from controller.guards.chain import GUARDS, deadline_of, deferral, judge
from controller.guards.facts import Facts, PoolFacts
from controller.guards.verdicts import Allow, Ask, Defer, Miss, Replace, Skip

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def dispatch(**fields: Any) -> Dispatch:
    """A scheduled dispatch that is due."""
    plain: dict[str, Any] = {
        "id": "d1",
        "job_id": 1,
        "namespace": "default",
        "job": "job",
        "cause": Cause.Schedule,
        "state": DispatchState.Pending,
        "scheduled_for": NOW,
        "not_before": NOW,
        "created_at": NOW,
    }
    return Dispatch(**{**plain, **fields})


def facts(**fields: Any) -> Facts:
    """A world in which everything is free."""
    spec = JobSpec(target=ShellTarget("true"), **fields.pop("spec", {}))
    plain: dict[str, Any] = {"now": NOW, "dispatch": dispatch(), "spec": spec, "effective_digest": "v1:x"}
    return Facts(**{**plain, **fields})


def approval(state: ApprovalState = ApprovalState.Approved, digest: str = "v1:x") -> Approval:
    """A question about the dispatch."""
    return Approval("a", "default", "job", 1, "d1", "Approval", state, digest, NOW, NOW + MINUTE, NOW)


def test_nothing_in_the_way_allows() -> None:
    """A free world opens the run."""
    assert judge(facts()) == Allow()


@pytest.mark.parametrize(
    ("fields", "kind", "reason"),
    [
        ({"hold": Hold("why", "ann", NOW)}, Defer, "Held"),
        ({"hold": Hold("why", "ann", NOW, NOW)}, Allow, None),
        ({"missing": ("x",)}, Skip, "ParameterMissing"),
        ({"invalid": ("x",)}, Skip, "ParameterInvalid"),
        ({"pools": (PoolFacts("pool:a/b", 1, None, 0, ahead=False),)}, Defer, "PoolNotFound"),
        ({"pools": (PoolFacts("pool:a/b", 1, 1, 1, ahead=False),)}, Defer, "PoolFull"),
        ({"pools": (PoolFacts("pool:a/b", 1, 2, 1, ahead=False),)}, Allow, None),
        ({"pools": (PoolFacts("pool:a/b", 1, 2, 0, ahead=True),)}, Defer, "PoolFull"),
        ({"live": 1}, Skip, "Forbid"),
        ({"ahead": True}, Skip, "Forbid"),
        ({"key_holder": "d0"}, Skip, "DuplicateKey"),
        ({"key_holder": "d1"}, Allow, None),
    ],
)
def test_each_fact_has_its_verdict(fields: dict[str, Any], kind: type, reason: str | None) -> None:
    """One fact, one verdict, one reason."""
    verdict = judge(facts(**fields))
    assert isinstance(verdict, kind)
    assert getattr(verdict, "reason", None) == reason


@pytest.mark.parametrize(
    ("policy", "cause", "kind"),
    [
        (ConcurrencyPolicy.Forbid, Cause.Schedule, Skip),
        (ConcurrencyPolicy.Forbid, Cause.Manual, Skip),
        (ConcurrencyPolicy.Forbid, Cause.Retry, Defer),
        (ConcurrencyPolicy.Forbid, Cause.Replay, Defer),
        (ConcurrencyPolicy.Queue, Cause.Schedule, Defer),
        (ConcurrencyPolicy.Allow, Cause.Schedule, Allow),
        (ConcurrencyPolicy.Replace, Cause.Schedule, Replace),
    ],
)
def test_overlap_follows_the_policy(policy: ConcurrencyPolicy, cause: Cause, kind: type) -> None:
    """What an open run means for a new dispatch; retries and replays are never dropped."""
    verdict = judge(facts(live=1, dispatch=dispatch(cause=cause), spec={"concurrency": Concurrency(policy=policy)}))
    assert isinstance(verdict, kind)


@pytest.mark.parametrize(
    ("given_approval", "gate", "cause", "kind"),
    [
        (None, Gate.Always, Cause.Schedule, Ask),
        (None, Gate.Always, Cause.Retry, Ask),
        (None, Gate.Chain, Cause.Schedule, Allow),
        (None, Gate.Chain, Cause.Chain, Ask),
        (approval(), Gate.Always, Cause.Schedule, Allow),
        (approval(ApprovalState.Rejected), Gate.Always, Cause.Schedule, Ask),
        (approval(digest="v1:another"), Gate.Always, Cause.Schedule, Ask),
    ],
)
def test_an_approval_counts_for_its_digest_only(
    given_approval: Approval | None, gate: Gate, cause: Cause, kind: type
) -> None:
    """A job that changed asks again."""
    policy = ApprovalPolicy(required=True, gate=gate)
    verdict = judge(facts(approval=given_approval, dispatch=dispatch(cause=cause), spec={"approval": policy}))
    assert isinstance(verdict, kind)


@pytest.mark.parametrize(("depth", "seconds"), [(0, 10), (4, 50), (11, 120), (99, 120)])
def test_deferral_grows_with_depth_and_is_bounded(depth: int, seconds: int) -> None:
    """S061."""
    assert deferral(depth) == timedelta(seconds=seconds)


HOLDS = st.none() | st.builds(Hold, st.just("why"), st.just("ann"), st.just(NOW), st.none() | st.just(NOW + MINUTE))
POOLS = st.lists(
    st.builds(
        PoolFacts,
        st.just("pool:a/b"),
        st.integers(1, 3),
        st.none() | st.integers(1, 3),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=2,
).map(tuple)


@given(
    hold=HOLDS,
    pools=POOLS,
    live=st.integers(0, 2),
    ahead=st.booleans(),
    policy=st.sampled_from(ConcurrencyPolicy),
    cause=st.sampled_from(Cause),
    late=st.timedeltas(timedelta(0), timedelta(hours=2)),
    deadline=st.none() | st.timedeltas(timedelta(seconds=1), timedelta(hours=1)),
)
def test_a_verdict_never_postpones_a_miss(
    hold: Hold | None,
    pools: tuple[PoolFacts, ...],
    live: int,
    ahead: bool,
    policy: ConcurrencyPolicy,
    cause: Cause,
    late: timedelta,
    deadline: timedelta | None,
) -> None:
    """Whatever is in the way: a deferral lies in the future and not beyond the instant at which the dispatch is Missed; Allow means free."""
    world = facts(
        hold=hold,
        pools=pools,
        live=live,
        ahead=ahead,
        dispatch=dispatch(cause=cause, scheduled_for=NOW - late),
        spec={
            "schedule": Schedule(crons=("* * * * *",), starting_deadline=deadline),
            "concurrency": Concurrency(policy=policy),
        },
    )
    verdict = judge(world)
    limit = deadline_of(world)
    if isinstance(verdict, Defer | Replace):
        assert verdict.not_before > NOW or (limit is not None and limit <= NOW)
        if limit is not None and not isinstance(verdict, Replace):
            assert verdict.not_before <= limit + timedelta(milliseconds=1)
    if isinstance(verdict, Allow):
        assert hold is None or (hold.until is not None and hold.until <= NOW)
        assert all(p.slots is not None and p.held + p.wanted <= p.slots and not p.ahead for p in pools)
        assert policy is ConcurrencyPolicy.Allow or not (live or ahead)
        assert limit is None or limit >= NOW
    if isinstance(verdict, Miss):
        assert limit is not None
        assert limit < NOW


@given(st.permutations(range(len(GUARDS))))
def test_guards_agree_on_whether_a_free_world_is_free(order: list[int]) -> None:
    """Guards are independent: in a free world none objects, in whatever order they are asked."""
    assert all(GUARDS[index](facts()) is None for index in order)


def test_facts_are_frozen() -> None:
    """Nobody changes the world while it is judged."""
    with pytest.raises(AttributeError):
        facts().live = 3  # type: ignore[misc]
    assert msgspec.structs.replace(facts(), live=3).live == 3
