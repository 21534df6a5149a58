"""One turn of the dispatcher, in one transaction: finish what ended, fire what is due, judge what waits, open what may run, put what ended on record.

Finishing and opening share a commit, so a chain costs one commit a link and a freed slot is taken by whoever waits for it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from controller.dispatch import sweep
from controller.dispatch.finish import Finished, finish
from controller.dispatch.fire import Fired, fire
from controller.dispatch.judge import Judged, judge
from controller.dispatch.knowledge import Asked, Knowledge
from controller.dispatch.sweep import Swept
from controller.domain.records import Ending
from controller.domain.story import StoryEvent
from controller.finalise.facts import Finalisation
from controller.store import evidence, instances, wakes
from controller.store.runs import OpenRun
from controller.store.store import Tx

_FIRED_PER_TURN = 256
"""Jobs fired in one turn: enough to keep the queue ahead of the slots, few enough to keep a turn short."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn is given. `slots` bounds how many runs may be opened; `look` asks for everything that time or people may have changed;
    without `fire` instants stay where they are, for whoever comes next and rules by `catchUp`.
    """

    now: datetime
    owner: str
    host: str
    slots: int
    endings: Sequence[Ending] = ()
    look: bool = False
    fire: bool = True


class Wakes(msgspec.Struct, frozen=True):
    """When to turn again if nobody says so before (None: only if told), and when a turn has to `look` as well."""

    at: datetime | None
    look_at: datetime | None


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """What it did. `touched` are the jobs that look different now; `more`: there may be work that could be done at once, and then
    nobody asked when to `wake` otherwise; `unfired`: some of it needs no slots; `asked` is what somebody outside has to say first.
    """

    opened: tuple[OpenRun, ...]
    finished: tuple[Finalisation, ...]
    news: tuple[StoryEvent, ...]
    touched: tuple[int, ...]
    cancels: bool
    more: bool
    unfired: bool
    wakes: Wakes | None
    asked: tuple[Asked, ...] = ()


def turn(
    tx: Tx,
    given: Turn,
    new_id: Callable[[datetime], str],
    knowledge: Knowledge | None = None,
) -> Turned:
    """Do one turn. Without `knowledge` nothing is known beside the database.

    Effect: everything it returns is durable once the caller's transaction is. Errors: StoreUnavailable; then nothing has happened.
    """
    now = given.now
    # 1. What ended frees slots, wakes who waited, and makes children.
    finished = finish(tx, given.endings, given.owner, now, new_id)
    # 2. What time or people changed.
    swept = sweep.sweep(tx, now, new_id) if given.look else sweep.NOTHING
    # 3. Instants that have come.
    fired = fire(tx, now, _FIRED_PER_TURN, new_id) if given.fire else Fired(0)
    # 4. Whoever waits, in order; as many as there are slots.
    # Whoever was declared gone while it was frozen opens nothing: what it opened would belong to nobody.
    may_open = given.slots > 0 and instances.holds(tx, given.owner)
    judged = None
    if may_open:
        judged = judge(tx, now, given.owner, given.host, given.slots, new_id, fired.touched, knowledge)
    looked_at = judged.looked_at if judged is not None else 0
    # 5. What ended is put on record; last, because on PostgreSQL chains of evidence stay locked until the commit.
    denied = judged.denied if judged is not None else ()
    evidence.append(tx, [*(decision.run for decision in finished.decided), *denied], now)
    unfired = fired.jobs == _FIRED_PER_TURN
    more = unfired or (looked_at > 0 and looked_at == given.slots)
    return Turned(
        opened=judged.opened if judged is not None else (),
        finished=finished.decided,
        news=finished.news + swept.news + fired.news + (judged.news if judged is not None else ()),
        touched=tuple(_touched(finished, swept, fired, judged)),
        cancels=swept.cancels or (judged is not None and judged.cancels),
        more=more,
        unfired=unfired,
        wakes=None if more else _wakes(tx, now, can_open=may_open, can_fire=given.fire),
        asked=judged.asked if judged is not None else (),
    )


def _touched(finished: Finished, swept: Swept, fired: Fired, judged: Judged | None) -> set[int]:
    """Every job of which something is different after this turn."""
    touched = {decision.run.job_id for decision in finished.decided} | set(swept.touched) | set(fired.touched)
    for decision in finished.decided:
        touched.update(child.job_id for child in decision.children)
    return touched | set(judged.touched) if judged is not None else touched


def _wakes(tx: Tx, now: datetime, *, can_open: bool, can_fire: bool) -> Wakes:
    """The earliest instants at which anything changes by itself. Without a free slot waiting dispatches do not count: an end will wake us."""
    fires, dispatch, sweeps = wakes.earliest(tx)
    known = [
        instant
        for instant in (fires if can_fire else None, dispatch if can_open else None, sweeps)
        if instant is not None
    ]
    # What is due already was judged in this turn and left waiting; looking again at once would spin.
    return Wakes(max(min(known), now + timedelta(milliseconds=1)) if known else None, sweeps)
