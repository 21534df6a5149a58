"""Decision points that are plug-ins: what a policy's `external.plugin` says of a run.

The controller's enquiries go through `DecisionPlugins`, as those over HTTP go through `decision_point`. Invariant: nothing but a `Decided` is taken for a decision, whatever the plug-in
does; what is shown of its words is short and without secrets.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import msgspec

from controller.base.clock import Clock
from controller.domain.trust import Decision
from controller.gates.authorization import moment
from controller.gates.enquiries import Away, DecisionAsked, Judged, no_decision
from controller.providers.authorization import Decided, DecisionPoint
from controller.providers.guard import Guard
from controller.providers.plugged import LEFT_ALONE, Plugged
from controller.providers.protocol import Refused, Unavailable
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings

_DECISIONS = (Decision.Permit, Decision.Deny, Decision.Escalate)
_EXPECTED = "answer Decided(Decision.Permit, Deny or Escalate, reason)"


class DecisionPlugins:
    """All that one controller asks. For the thread of the event loop."""

    def __init__(
        self,
        registry: Callable[[], Registry[DecisionPoint]],
        surroundings: Callable[[str, str], Surroundings],
        clock: Clock,
    ) -> None:
        """See `Plugged`."""
        self._plugged, self._clock = Plugged(registry, surroundings), clock

    async def ask(self, asked: DecisionAsked) -> Judged | Away:
        """What the plug-in says of this input now. See `enquiring.Answerer`."""
        plugin = asked.external.plugin
        assert plugin is not None
        instance = self._plugged.of(asked.of, asked.home, plugin, asked.external.timeout)
        if isinstance(instance, Refused):
            return no_decision(instance.message)
        # Its own copy of plain values: others decide over the same input.
        shown: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode({**asked.input, "time": moment(self._clock.now(), asked.time_zone)})
        )
        return judged(await instance.guard.ask(lambda: instance.plug.decide(shown)), instance.guard)

    def follow(self, policies: Collection[tuple[str, str]]) -> None:
        """See `Plugged`."""
        self._plugged.follow(policies)

    async def close(self) -> None:
        """Let go of all of them."""
        await self._plugged.close()


def judged(answer: object, guard: Guard) -> Judged | Away:
    """What an answer decides; whatever is no decision denies. Pure but for what the guard knows to mask."""
    match answer:
        case Unavailable():
            return Away(guard.words(answer.message), _soon(answer.retry_after))
        case Refused():
            return no_decision(guard.words(answer.message))
        case Decided():
            return _decided(answer, guard)
    return no_decision(guard.words(f"it answered with {type(answer).__name__}; {_EXPECTED}"))


def _decided(answer: Decided, guard: Guard) -> Judged:
    # Text that looks like a decision is none: plug-ins are not type-checked.
    decision: object = answer.decision
    reason: object = answer.reason
    if not isinstance(decision, Decision) or decision not in _DECISIONS or not isinstance(reason, str):
        return no_decision(f"it answered with a Decided that holds something else; {_EXPECTED}")
    return Judged(decision, guard.words(reason) if reason else "")


def _soon(retry_after: object) -> timedelta | None:
    if not isinstance(retry_after, timedelta):
        return None
    return min(max(retry_after, timedelta(0)), LEFT_ALONE)
