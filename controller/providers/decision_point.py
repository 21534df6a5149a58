"""Decision points of authorization policies over HTTP, asked as Open Policy Agent is by its Data API.

    POST url  {"input": {…}}  →  {"result": true | false | {"allow": true | false, "reason": …} | {"decision": "Permit" | "Deny" | "Escalate", "reason": …}}

The controller's enquiries go through `DecisionPoints`. Invariant: nothing but a decision is taken for one; an outage is told apart from a wrong answer, since it may
pass; a point that keeps failing is left alone for a while; what is shown of an answer is short and without secrets.
Source: https://www.openpolicyagent.org/docs/rest-api, "Get a Document (with Input)"; spec-scheduler 6.4; cases S088, S089.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from controller.base import durations, urls
from controller.base.clock import Clock
from controller.base.errors import InvalidInput
from controller.base.logs import event
from controller.base.masking import SECRETS
from controller.domain.trust import Decision, External
from controller.gates.authorization import moment
from controller.gates.enquiries import Away, DecisionAsked, Judged, no_decision
from controller.providers import breaker, web, words
from controller.providers.breaker import Breaker
from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.surroundings import Surroundings

_log = logging.getLogger(__name__)

_WORDS: Mapping[str, Decision] = {
    word: decision
    for decision in (Decision.Permit, Decision.Deny, Decision.Escalate)
    for word in (decision.value, decision.value.lower())
}
_EXPECTED = (
    "answer true, false, or an object with allow (true or false) or decision (Permit, Deny, Escalate) in `result`"
)
_MOST_POINTS = 512
_LEFT_ALONE = timedelta(seconds=20)
"""Whoever waits for an answer has a minute of patience: whatever was before, the decision point is asked in it."""


class DecisionPoints:
    """All that one controller asks, each with a breaker of its own. For the thread of the event loop."""

    def __init__(self, clock: Clock, surroundings: Callable[[str, str], Surroundings]) -> None:
        """`surroundings` makes those of a policy out of its name for messages and its namespace, "" for a Cluster policy; it is called on the event loop."""
        self._clock, self._surroundings = clock, surroundings
        self._known: dict[tuple[str, str], _Point] = {}

    async def ask(self, asked: DecisionAsked) -> Judged | Away:
        """What the point says of this input now. See `enquiring.Answerer`."""
        return await self._point(asked).ask(asked)

    def _point(self, asked: DecisionAsked) -> "_Point":
        key = (asked.home, asked.of)
        known = self._known.pop(key, None)
        if known is None or known.external != asked.external:
            known = _Point(asked.of, asked.external, self._surroundings(asked.of, asked.home), self._clock)
        self._known[key] = known
        while len(self._known) > _MOST_POINTS:
            del self._known[next(iter(self._known))]  # whoever was not asked for the longest time
        return known


class _Point:
    """One policy's."""

    def __init__(self, name: str, external: External, surroundings: Surroundings, clock: Clock) -> None:
        self.external = external
        self._name, self._surroundings, self._clock = name, surroundings, clock
        self._breaker = Breaker()
        self._trouble = ""

    async def ask(self, asked: DecisionAsked) -> Judged | Away:
        objection = self._objection()
        if objection is not None:
            return no_decision(objection)
        timeout = self.external.timeout
        self._breaker, wait = breaker.ask(self._breaker, self._clock.monotonic(), 2 * timeout)
        if wait is not None:
            often = f"{self._breaker.failures} times in a row, so it is left alone for a while"
            return Away(f"{self._trouble or 'it failed'} ({often})", min(wait, _LEFT_ALONE))
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                answer = await self._answer(asked)
        except TimeoutError:
            answer = Away(f"no answer within {durations.format(timeout)}")
        self._tell(answer)
        return answer

    def _objection(self) -> str | None:
        """Why this is never asked, whatever the weather."""
        external, around = self.external, self._surroundings
        if (why := urls.objection(external.url)) is not None:
            return f"spec.external.url: {why}"
        if not around.host and urls.is_this_host(urls.host_of(external.url)):
            return (
                "spec.external.url: localhost is the controller's own host, which a policy of a namespace must not ask: "
                "declare a ClusterAuthorizationPolicy"
            )
        try:
            for name, source in external.headers:
                around.check(f"spec.external.headersFrom, {name}", source)
            if external.authority is not None:
                around.check("spec.external.caFrom", external.authority)
        except InvalidInput as error:
            return str(error)
        return None

    async def _answer(self, asked: DecisionAsked) -> Judged | Away:
        headers, authority = {}, None
        for name, source in self.external.headers:
            value = await self._surroundings.read(source)
            if not isinstance(value, Secret):
                return self._unread(f"the header {name}", value)
            headers[name] = value.reveal()
        if self.external.authority is not None:
            found = await self._surroundings.read(self.external.authority)
            if not isinstance(found, Secret):
                return self._unread("caFrom", found)
            authority = found.reveal()
        shown = {**asked.input, "time": moment(self._clock.now(), asked.time_zone)}
        reply = await web.ask("POST", self.external.url, headers=headers, body={"input": shown}, authority=authority)
        return Away(self._fit(reply.message)) if isinstance(reply, Unavailable) else self._judged(reply)

    def _unread(self, what: str, why: Refused | Unavailable) -> Judged | Away:
        message = self._fit(f"{what}: {why.message}")
        return Away(message) if isinstance(why, Unavailable) else no_decision(message)

    def _judged(self, reply: web.Reply) -> Judged | Away:
        if reply.good:
            return judged(reply.body, self._fit)
        if reply.passing:
            later = reply.retry_after
            return Away(f"it answered {reply.status}", None if later is None else min(later, _LEFT_ALONE))
        hint = _HINTS.get(reply.status, "the address has to be that of a decision: /v1/data/PACKAGE/RULE")
        return no_decision(f"it answered {reply.status}, which is no decision: {hint}")

    def _tell(self, answer: Judged | Away) -> None:
        before, away = self._breaker.state, isinstance(answer, Away)
        self._trouble = answer.message if away else ""
        self._breaker = breaker.tell(self._breaker, self._clock.monotonic(), answered=not away, longest=_LEFT_ALONE)
        if self._breaker.state is not before:
            event(_log, "decision point circuit breaker", policy=self._name, state=self._breaker.state)

    def _fit(self, text: str) -> str:
        return words.fit(text, self._surroundings.masker, SECRETS)


_CREDENTIALS = "it wants a credential, which headersFrom can name"
_ELSEWHERE = "it answers elsewhere, and no redirect is followed: write the address that it redirects to"
_HINTS = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    400: "it did not understand the question: is it a Data API of Open Policy Agent (/v1/data/PACKAGE/RULE)?",
}


def judged(body: bytes, fit: Callable[[str], str]) -> Judged:
    """What the body of an answer decides; whatever is no decision denies, and is quoted as `fit` makes it fit to be shown. Pure."""
    try:
        answer: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return no_decision(f"its answer is no JSON: {fit(body[:_QUOTED].decode('utf-8', 'replace')) or 'it is empty'}")
    if not isinstance(answer, dict):
        return no_decision(f"its answer is no object with a result: {_quoted(answer, fit)}; {_EXPECTED}")
    if "result" not in answer:
        return no_decision(
            "its answer has no result: nothing is defined at that address for this input; give the rule a default"
        )
    result = answer["result"]
    if isinstance(result, bool):
        return Judged(Decision.Permit if result else Decision.Deny)
    decision = _decision(result) if isinstance(result, dict) else None
    if decision is None:
        return no_decision(f"it answered {_quoted(result, fit)}; {_EXPECTED}")
    reason = result.get("reason")
    return Judged(decision, fit(reason) if isinstance(reason, str) else "")


_QUOTED = 1000  # bytes that are looked at to quote an answer


def _decision(result: Mapping[str, Any]) -> Decision | None:
    """One of the two fields says it; two of them might say two things."""
    allow, decision = result.get("allow"), result.get("decision")
    if ("allow" in result) == ("decision" in result):
        return None
    if isinstance(allow, bool):
        return Decision.Permit if allow else Decision.Deny
    return _WORDS.get(decision) if isinstance(decision, str) else None


def _quoted(value: Any, fit: Callable[[str], str]) -> str:
    return fit(msgspec.json.encode(value)[:_QUOTED].decode("utf-8", "replace"))
