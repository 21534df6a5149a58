"""What a decision point plug-in is: the Protocol behind the entry points `jobwarden.authorization_providers`.

An entry point names a callable, usually a class, that takes the `config` of one policy's `external.plugin` and its `Surroundings` and gives a `DecisionPoint`. PROVIDERS.md is
the guide, `policy_conformance` the suite that checks one, `deciding` asks it. Invariant: a decision is a `Decided` and nothing else; an outage is an answer, not an exception.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from controller.domain.trust import Decision
from controller.providers.protocol import Refused, Unavailable
from controller.providers.registry import Group

__all__ = ["DECISION_POINTS", "Answer", "Decided", "Decision", "DecisionPoint", "Refused", "Unavailable"]


class Decided(msgspec.Struct, frozen=True):
    """What was decided: Permit, Deny, or Escalate, which has people asked as the policy says. The reason is for people, and shown to them."""

    decision: Decision
    reason: str = ""


Answer = Decided | Refused | Unavailable
"""`Refused`: nothing can be decided about that, which denies; asking again changes nothing. `Unavailable`: not now, ask again later."""


@runtime_checkable
class DecisionPoint(Protocol):
    """What every one of them does. One with a coroutine `close` is closed when its policy says something else, or the controller stops."""

    async def decide(self, asked: Mapping[str, Any]) -> Answer:
        """Whether a run may be, by what a rule of a policy would see of it.

        Shape:  `asked` has the maps `job`, `identity`, `trust`, `proof`, `request`, `source`, `time` and the list `parents`, as README describes them for rules: plain
                values, its own copy. The same run may be asked about any number of times, and nothing may come of it: somebody may only want to know.
        Effect: may be cancelled at any await.
        Errors: any exception is an outage, and its text is cut and masked; better is an `Unavailable` with words of one's own.
        """
        ...


DECISION_POINTS: Group[DecisionPoint] = Group(
    "jobwarden.authorization_providers", "decision point", "decide", "decide(asked)"
)
"""The group of entry points."""
