"""Who answers which enquiry of the gates."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache

from controller.app.credentials import Around
from controller.base.clock import Clock
from controller.domain.trust import Decision
from controller.gates.enquiries import (
    AccessAsked,
    Away,
    DecisionAsked,
    Enquiry,
    Finding,
    Judged,
    ProofEnquiry,
    Vouching,
)
from controller.loops.enquiring import Answerer
from controller.loops.obtaining import Obtaining

Decide = Callable[[DecisionAsked], Awaitable[Judged | Away]]
Review = Callable[[AccessAsked], Awaitable[Judged | Away]]

_NO_CLUSTER = "this controller watches no cluster (--kubernetes), so there is no API server to ask"


def answerers(
    clock: Clock, obtaining: Obtaining, around: Callable[[], Around], review: Callable[[], Review | None]
) -> Mapping[type[Enquiry], Answerer]:
    """An answerer for each kind of enquiry. `around` and `review` (None: there is no cluster) are looked up when somebody first asks."""
    points = cache(lambda: _points(clock, around()))
    proving = cache(lambda: _proving(clock, around(), obtaining))

    async def decide(asked: Enquiry) -> Finding | Away:
        assert isinstance(asked, DecisionAsked)
        return await points()(asked)

    async def may(asked: Enquiry) -> Finding | Away:
        assert isinstance(asked, AccessAsked)
        server = review()
        return Judged(Decision.Deny, _NO_CLUSTER, understood=False) if server is None else await server(asked)

    async def prove(asked: Enquiry) -> Finding | Away:
        return await proving()(asked)

    return {Vouching: obtaining.vouch, DecisionAsked: decide, AccessAsked: may, ProofEnquiry: prove}


# What speaks HTTP costs a quarter of a second that nobody else owes (DECISIONS 29).


def _points(clock: Clock, around: Around) -> Decide:
    from controller.providers.decision_point import DecisionPoints  # noqa: PLC0415

    return DecisionPoints(clock, around).ask


def _proving(clock: Clock, around: Around, obtaining: Obtaining) -> Answerer:
    from controller.loops.proving import Proving  # noqa: PLC0415
    from controller.providers.key_sets import KeySets  # noqa: PLC0415

    # Whoever takes requests from a cluster lets none by that points at this host.
    return Proving(
        obtaining, lambda namespace: around(f"requests of {namespace}", namespace), KeySets(clock), clock
    ).answer
