"""One turn of the dispatcher, in one transaction: finish what ended, fire what is due, judge what waits, open what may run.

Finishing and opening share a commit, so a chain costs one commit a link and a freed slot is taken by whoever waits for it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from controller.dispatch import sweep
from controller.dispatch.finish import Finished, finish
from controller.dispatch.fire import Fired, fire
from controller.dispatch.judge import Judged, judge
from controller.dispatch.sweep import Swept
from controller.domain.records import Ending
from controller.domain.story import StoryEvent
from controller.finalise.facts import Finalisation
from controller.store import approvals, dispatches, jobs
from controller.store.runs import OpenRun
from controller.store.store import Tx

_FIRED_PER_TURN = 256
"""Jobs fired in one turn: enough to keep the queue ahead of the slots, few enough to keep a turn short."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn is given. `slots` bounds how many runs may be opened; `look` asks for everything that time or people may have changed."""

    now: datetime
    owner: str
    host: str
    slots: int
    endings: Sequence[Ending] = ()
    look: bool = False


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """What it did. `touched` are the jobs that look different now; `more`: there may be work that could be done at once; `wake_at`: when to look again otherwise (None: only if told)."""

    opened: tuple[OpenRun, ...]
    finished: tuple[Finalisation, ...]
    news: tuple[StoryEvent, ...]
    touched: tuple[int, ...]
    cancels: bool
    more: bool
    wake_at: datetime | None


def turn(tx: Tx, given: Turn, new_id: Callable[[datetime], str]) -> Turned:
    """Do one turn.

    Effect: everything it returns is durable once the caller's transaction is. Errors: StoreUnavailable; then nothing has happened.
    """
    now = given.now
    # 1. What ended frees slots, wakes who waited, and makes children.
    finished = finish(tx, given.endings, given.owner, now, new_id)
    # 2. What time or people changed.
    swept = sweep.sweep(tx, now, new_id) if given.look else sweep.NOTHING
    # 3. Instants that have come.
    fired = fire(tx, now, _FIRED_PER_TURN, new_id)
    # 4. Whoever waits, in order; as many as there are slots.
    judged = judge(tx, now, given.owner, given.host, given.slots, new_id) if given.slots > 0 else None
    looked_at = judged.looked_at if judged is not None else 0
    more = fired.jobs == _FIRED_PER_TURN or (looked_at > 0 and looked_at == given.slots)
    return Turned(
        opened=judged.opened if judged is not None else (),
        finished=finished.decided,
        news=finished.news + swept.news + fired.news + (judged.news if judged is not None else ()),
        touched=tuple(_touched(finished, swept, fired, judged)),
        cancels=swept.cancels or (judged is not None and judged.cancels),
        more=more,
        wake_at=None if more else _wake_at(tx, now, can_open=given.slots > 0),
    )


def _touched(finished: Finished, swept: Swept, fired: Fired, judged: Judged | None) -> set[int]:
    """Every job of which something is different after this turn."""
    touched = {decision.run.job_id for decision in finished.decided} | set(swept.touched) | set(fired.touched)
    for decision in finished.decided:
        touched.update(child.job_id for child in decision.children)
    return touched | set(judged.touched) if judged is not None else touched


def _wake_at(tx: Tx, now: datetime, *, can_open: bool) -> datetime | None:
    """The earliest instant at which anything changes by itself. Without a free slot waiting dispatches do not count: an end will wake us."""
    candidates = [jobs.next_fire_at(tx), approvals.next_expiry(tx), jobs.next_hold_end(tx), jobs.next_alert_at(tx)]
    if can_open:
        candidates.append(dispatches.next_due_at(tx))
    known = [instant for instant in candidates if instant is not None]
    # What is due already was judged in this turn and left waiting; looking again at once would spin.
    return max(min(known), now + timedelta(milliseconds=1)) if known else None
