"""Everything that the rules look at, gathered in one transaction and frozen. Made by `store.gather`, read by `guards.chain`."""

from datetime import datetime

import msgspec

from controller.domain.job import JobSpec
from controller.domain.records import Approval, Dispatch, Hold


class PoolFacts(msgspec.Struct, frozen=True):
    """One pool that the job needs. `slots` None: it does not exist (or is not for this namespace). `ahead`: somebody earlier waits for it."""

    key: str
    wanted: int
    slots: int | None
    held: int
    ahead: bool


class Facts(msgspec.Struct, frozen=True):
    """One dispatch and the world around it at `now`.

    `live` counts open runs of the job; `ahead` says whether an earlier dispatch of it, or any Retry or Replay, still waits; `waiting` counts
    all its waiting dispatches but this one. `missing` and `invalid` name parameters without a value and with a bad one.
    """

    now: datetime
    dispatch: Dispatch
    spec: JobSpec
    effective_digest: str
    hold: Hold | None = None
    live: int = 0
    ahead: bool = False
    waiting: int = 0
    approval: Approval | None = None
    pending_approvals: int = 0
    pools: tuple[PoolFacts, ...] = ()
    key_holder: str | None = None
    missing: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
