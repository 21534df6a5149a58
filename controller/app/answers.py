"""Who answers which enquiry of the gates."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial

from controller.app.credentials import Around
from controller.base.clock import Clock
from controller.domain.governors import Governors
from controller.domain.trust import Authorization
from controller.gates.enquiries import (
    AccessAsked,
    Away,
    DecisionAsked,
    Enquiry,
    Finding,
    Judged,
    ProofEnquiry,
    Vouching,
    no_decision,
)
from controller.loops.enquiring import Answerer
from controller.loops.obtaining import Obtaining
from controller.providers.authorization import DECISION_POINTS
from controller.providers.deciding import DecisionPlugins
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings
from controller.providers.verification import VERIFIERS
from controller.providers.verifying import Verifiers

Decide = Callable[[DecisionAsked], Awaitable[Judged | Away]]
Review = Callable[[AccessAsked], Awaitable[Judged | Away]]

_NO_CLUSTER = "this controller watches no cluster (--kubernetes), so there is no API server to ask"


class Answering:
    """All of one controller's. `by_kind` are the answerers, each for its kind of enquiry."""

    def __init__(
        self, clock: Clock, obtaining: Obtaining, around: Callable[[], Around], review: Callable[[], Review | None]
    ) -> None:
        """`around` and `review` (None: there is no cluster) are looked up when somebody first asks."""
        self._review = review

        def surroundings(name: str, namespace: str) -> Surroundings:
            return around()(name, namespace)

        self._points = cache(lambda: _points(clock, around()))
        self._plugins = DecisionPlugins(partial(Registry, DECISION_POINTS), surroundings, clock)
        self._verifiers = Verifiers(partial(Registry, VERIFIERS), surroundings, clock)
        proving = cache(lambda: _proving(clock, around(), obtaining, self._verifiers))

        async def prove(asked: Enquiry) -> Finding | Away:
            return await proving()(asked)

        self.by_kind: Mapping[type[Enquiry], Answerer] = {
            Vouching: obtaining.vouch,
            DecisionAsked: self._decide,
            AccessAsked: self._may,
            ProofEnquiry: prove,
        }

    def follow(self, known: Governors) -> None:
        """Let go of the plug-ins of policies that are gone."""
        policies = [(one.namespace, str(one)) for one in known.documents if isinstance(one.document, Authorization)]
        self._plugins.follow(policies)
        self._verifiers.follow(policies)

    async def close(self) -> None:
        """Let go of the plug-ins that were asked."""
        await self._plugins.close()
        await self._verifiers.close()

    async def _decide(self, asked: Enquiry) -> Finding | Away:
        assert isinstance(asked, DecisionAsked)
        decide = self._points() if asked.external.plugin is None else self._plugins.ask
        return await decide(asked)

    async def _may(self, asked: Enquiry) -> Finding | Away:
        assert isinstance(asked, AccessAsked)
        server = self._review()
        return no_decision(_NO_CLUSTER) if server is None else await server(asked)


# What speaks HTTP costs a quarter of a second that nobody else owes (DECISIONS 29).


def _points(clock: Clock, around: Around) -> Decide:
    from controller.providers.decision_point import DecisionPoints  # noqa: PLC0415

    return DecisionPoints(clock, around).ask


def _proving(clock: Clock, around: Around, obtaining: Obtaining, verifiers: Verifiers) -> Answerer:
    from controller.loops.proving import Proving  # noqa: PLC0415
    from controller.providers.key_sets import KeySets  # noqa: PLC0415

    # Whoever takes requests from a cluster lets none by that points at this host.
    return Proving(
        obtaining, lambda namespace: around(f"requests of {namespace}", namespace), KeySets(clock), verifiers, clock
    ).answer
