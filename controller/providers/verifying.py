"""Proof verifiers that are plug-ins: what a policy's `proof.plugin` states of a proof, and what of that is believed.

`loops.proving` asks. Invariant: issuer, audience, job, age, end and the id that is spent are compared here, whatever the verifier has looked at; nothing that it says in words comes out, as
those could quote a proof that does not hold; and what it states is read on its own thread, within its time, and bounded.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import msgspec

from controller.base import canonical
from controller.base.clock import Clock
from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.reasons import Reason
from controller.domain.trust import Proof, ProofMethod
from controller.gates.enquiries import ProofEnquiry
from controller.kinds.rules.trust import MOST_SKEW
from controller.proofs import claims
from controller.providers.plugged import LEFT_ALONE, Plugged
from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings
from controller.providers.verification import ProofVerifier, Rejected, Verified, Wanted, Why

_MOST_CLAIMS = 64 * 1024  # bytes of JSON
_LONGEST, _LONGEST_NAME, _MOST_AUDIENCES = 1024, 64, 64
_LEAST_SECRET = 8  # characters: what is shorter may well be somebody's name
_claims = msgspec.json.Decoder(dict[str, Any])
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class Verifiers:
    """All that one controller asks. For the thread of the event loop."""

    def __init__(
        self,
        registry: Callable[[], Registry[ProofVerifier]],
        surroundings: Callable[[str, str], Surroundings],
        clock: Clock,
    ) -> None:
        """See `Plugged`."""
        self._plugged, self._clock = Plugged(registry, surroundings), clock

    async def look(self, enquiry: ProofEnquiry, text: str) -> Verdict | Unavailable:
        """What becomes of a proof under the policy's plug-in."""
        rule = enquiry.rule
        plugin = rule.plugin
        assert plugin is not None
        instance = self._plugged.of(enquiry.of, enquiry.policy_namespace, plugin, rule.timeout)
        if isinstance(instance, Refused):
            return Unproven(Reason.ProofNotChecked, instance.message)
        wanted = asked(rule, enquiry.namespace, enquiry.job)
        answer = await instance.guard.ask(lambda: heard(instance.plug, instance.surroundings, Secret(text), wanted))
        return verdict(answer, rule, f"{enquiry.namespace}/{enquiry.job}", self._clock.now())

    def follow(self, policies: Collection[tuple[str, str]]) -> None:
        """See `Plugged`."""
        self._plugged.follow(policies)

    async def close(self) -> None:
        """Let go of all of them."""
        await self._plugged.close()


def asked(rule: Proof, namespace: str, job: str) -> Wanted:
    """What a verifier is told of a policy. Pure."""
    return Wanted(namespace=namespace, job=job, issuer=rule.issuer, audience=rule.audience, max_age=rule.max_age)


async def heard(plug: ProofVerifier, around: Surroundings, proof: Secret, wanted: Wanted) -> object:
    """What a verifier answers, without words of its own: a `Stated` that can be read, a refusal or an outage in our words."""
    try:
        answer: object = await plug.verify(proof, wanted)
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises
        return Unavailable(f"it broke with {_kind(error, proof)}")
    match answer:
        case Verified():
            return _read(answer, proof)
        case Rejected() if isinstance(answer.why, Why):
            return answer
        case Refused():
            return Refused(answer.message if around.gave(answer) else "it says that it cannot")
        case Unavailable():
            message = answer.message if around.gave(answer) else "it says that it cannot now"
            return Unavailable(message, _soon(answer.retry_after))
    return Refused(f"it answered with {_kind(answer, proof)}, which the Protocol does not know")


def verdict(answer: object, rule: Proof, job: str, now: datetime) -> Verdict | Unavailable:
    """What an answer of `heard` comes to under a policy; `job` is NAMESPACE/NAME. Pure."""
    who = rule.words
    match answer:
        case Stated():
            return _judged(answer, rule, job, now)
        case Rejected():
            reason = Reason(answer.why.value)
            return Unproven(reason, f"{who} does not take it: {_clause(reason.sentence)}")
        case Unavailable():
            return Unavailable(f"{who} cannot be asked: {answer.message}", answer.retry_after)
        case Refused():
            return Unproven(Reason.ProofNotChecked, f"{who} cannot check it: {answer.message}")
    return Unproven(Reason.ProofNotChecked, f"{who} cannot check it: it gave no answer that can be read")


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What a verifier states, of the types that it has to be of, in UTC, and no more than is looked at."""

    subject: str
    issuer: str
    audiences: tuple[str, ...]
    issued_at: datetime | None
    not_before: datetime | None
    expires_at: datetime | None
    id: str | None
    flat: claims.Flat
    job: Any
    key: str
    algorithm: str


def _read(said: Verified, proof: Secret) -> Stated | Refused:
    """Plug-ins are not type-checked, so everything is. Nothing is quoted."""
    try:
        texts = {name: _text(getattr(said, name)) for name in ("subject", "issuer", "key", "algorithm")}
        times = {name: _time(getattr(said, name)) for name in ("issued_at", "not_before", "expires_at")}
        audiences = tuple(_text(one) for one in said.audiences[: _MOST_AUDIENCES + 1])
        id_ = None if said.id is None else _text(said.id)
        encoded = msgspec.json.encode(said.claims)
        # What is too much is not even read.
        plain = _claims.decode(encoded) if len(encoded) <= _MOST_CLAIMS else None
    except Exception as error:  # noqa: BLE001 - what a plug-in has put into its answer may be code
        return Refused(f"what it states of a proof cannot be read: {type(error).__name__}")
    flat = claims.flat(plain) if plain is not None else None
    if plain is None or flat is None or len(audiences) > _MOST_AUDIENCES or not isinstance(said.audiences, tuple):
        return Refused("what it states of a proof is more than is looked at")
    if id_ == "":
        return Refused("what it states of a proof has an empty id, which would be everybody's")
    kept = (*texts.values(), *audiences, *flat[0], *flat[0].values(), *flat[1], *chain(*flat[1].values()))
    if len(proof.reveal()) >= _LEAST_SECRET and any(proof.reveal() in text for text in kept):
        return Refused("what it states of a proof holds the proof itself, which is shown to nobody")
    return Stated(**texts, **times, audiences=audiences, id=id_, flat=flat, job=plain.get(claims.JOB))  # type: ignore[arg-type]


def _kind(thing: object, proof: Secret) -> str:
    """The name of its type, unless a plug-in has made one out of the proof."""
    name, text = type(thing).__name__[:_LONGEST_NAME], proof.reveal()
    made_of_it = len(name) >= _LEAST_SECRET and (name in text or text in name)
    return "a type of its own" if made_of_it or not name.isidentifier() else name


def _text(value: object) -> str:
    """Errors: TypeError, ValueError, UnicodeEncodeError."""
    if not isinstance(value, str):
        raise TypeError
    if len(value) > _LONGEST:
        raise ValueError
    value.encode()
    return value


def _time(value: object) -> datetime | None:
    """Errors: TypeError, ValueError, OverflowError."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError
    if value.tzinfo is None:
        raise ValueError
    return min(value.astimezone(UTC), _LATEST)


def _judged(said: Stated, rule: Proof, job: str, now: datetime) -> Verdict:
    if rule.issuer is not None and said.issuer != rule.issuer:
        return Unproven(Reason.ProofWrongIssuer, f"its issuer is not {rule.issuer}")
    if rule.audience is not None and rule.audience not in said.audiences:
        return Unproven(Reason.ProofWrongAudience, f"it is not for {rule.audience}")
    if said.job is not None and said.job != job:
        return Unproven(Reason.ProofWrongJob, f"its claim {claims.JOB} is not {job}")
    untimely = _untimely(said, rule, now)
    if untimely is not None:
        return untimely
    texts, lists = said.flat
    return Proven(
        method=ProofMethod.Plugin,
        holds_until=_holds_until(said, rule),
        issuer=said.issuer,
        subject=said.subject,
        key=said.key,
        algorithm=said.algorithm,
        once=_once(said, rule) if said.id is not None else None,
        # One that does not end by itself may be taken by another policy however late, so its id is never forgotten.
        once_until=said.expires_at + MOST_SKEW if said.expires_at is not None else _LATEST,
        claims=texts,
        lists=lists,
    )


def _untimely(said: Stated, rule: Proof, now: datetime) -> Unproven | None:
    made, ends, skew = said.issued_at, said.expires_at, rule.clock_skew
    if made is None and ends is None:
        return Unproven(
            Reason.ProofInvalid,
            f"{rule.words} states neither when it was made nor when it ends, so it would hold for ever",
        )
    if ends is not None and now >= ends + skew:
        return Unproven(Reason.ProofExpired, "it has expired; get a new one and ask again")
    if made is not None and now >= made + rule.max_age + skew:
        return Unproven(Reason.ProofTooOld, f"it was made longer ago than maxAge ({_words(rule.max_age)}) allows")
    if max(one for one in (made, said.not_before, now) if one is not None) > now + skew:
        return Unproven(
            Reason.ProofNotYetValid, "it says of itself that it is not valid yet; are the clocks of both sides right?"
        )
    if made is None and ends is not None and ends > now + rule.max_age:
        # Its age is not known.
        return Unproven(
            Reason.ProofTooOld,
            f"it ends later than maxAge ({_words(rule.max_age)}) from now, and {rule.words} does not state when it was made",
        )
    return None


def _holds_until(said: Stated, rule: Proof) -> datetime:
    """The first instant at which it is none any more."""
    ends = [said.expires_at, said.issued_at + rule.max_age if said.issued_at is not None else None]
    return min(one for one in ends if one is not None) + rule.clock_skew


def _once(said: Stated, rule: Proof) -> str:
    """The same for the same proof, whichever policy asks for it. What nobody is named for is unique for its verifier."""
    issuer = {"issuer": said.issuer} if said.issuer else {"plugin": rule.plugin.type if rule.plugin else ""}
    return canonical.digest({"method": ProofMethod.Plugin.value, **issuer, "id": said.id})


def _soon(retry_after: object) -> timedelta | None:
    return min(max(retry_after, timedelta(0)), LEFT_ALONE) if isinstance(retry_after, timedelta) else None


def _clause(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")


def _words(span: timedelta) -> str:
    return f"{span.total_seconds():g}s"
