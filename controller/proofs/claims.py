"""What a token claims, compared with what a policy wants, and made flat for rules.

Invariant: pure; `now` is given. Every bound is meant with the skew that the policy allows. Source: RFC 7519 section 4.1; for `aud` and `exp` also OpenID Connect Core,
section 3.1.3.7.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.domain.proofs import Unproven
from controller.domain.reasons import Reason
from controller.domain.trust import Proof
from controller.kinds.rules.trust import MOST_SKEW

JOB = "jobwarden.dev/job"
"""The claim that says for which job a proof is, as NAMESPACE/NAME; one with it is good for no other."""

_MOST, _DEEPEST, _LONGEST_NAME = 200, 4, 256
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)

Flat = tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]


def objection(claims: Mapping[str, Any], rule: Proof, job: str, now: datetime) -> Unproven | None:
    """What is wrong with the claims of a token whose signature holds; None: nothing. `job` is NAMESPACE/NAME. Pure."""
    if rule.issuer is not None and claims.get("iss") != rule.issuer:
        return Unproven(Reason.ProofWrongIssuer, f"its claim iss is not {rule.issuer}")
    if not _names(claims.get("aud"), rule.audience):
        return Unproven(Reason.ProofWrongAudience, f"its claim aud does not name {rule.audience}")
    if claims.get(JOB, job) != job:
        return Unproven(Reason.ProofWrongJob, f"its claim {JOB} is not {job}")
    for name in ("iss", "sub", "jti"):
        if not isinstance(claims.get(name, ""), str):
            return Unproven(Reason.ProofInvalid, f"its claim {name} is no text")
    return _untimely(claims, rule, now)


def holds_until(claims: Mapping[str, Any], rule: Proof) -> datetime:
    """The first instant at which a token without `objection` is too old. Pure."""
    made, ends = _instant(claims["iat"]), _instant(claims["exp"])
    assert made is not None
    assert ends is not None
    return min(made + rule.max_age, ends, _LATEST) + rule.clock_skew


def ends(claims: Mapping[str, Any]) -> datetime:
    """The first instant at which a token without `objection` is too old for every policy, whatever its `maxAge` and `clockSkew`. Pure."""
    said = _instant(claims["exp"])
    assert said is not None
    return min(said, _LATEST) + MOST_SKEW


def flat(claims: Mapping[str, Any]) -> Flat | None:
    """Claims as text, and lists of them as lists of text; names of what is inside objects are joined with dots. Lists of objects are left out. None: there are
    too many, too deep, or two of the same name. Pure.
    """
    texts: dict[str, str] = {}
    lists: dict[str, tuple[str, ...]] = {}
    for name, value in _leaves(claims, "", 0):
        if name in texts or name in lists or len(texts) + len(lists) >= _MOST or len(name) > _LONGEST_NAME:
            return None
        if isinstance(value, _TooDeep):
            return None
        if isinstance(value, list):
            if len(value) > _MOST:
                return None
            words = [_word(one) for one in value]
            if all(word is not None for word in words):
                lists[name] = tuple(word for word in words if word is not None)
        elif (word := _word(value)) is not None:
            texts[name] = word
    return texts, lists


class _TooDeep:
    pass


def _leaves(claims: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in claims.items():
        if not isinstance(value, dict):
            yield prefix + name, value
        elif depth == _DEEPEST:
            yield prefix + name, _TooDeep()
        else:
            yield from _leaves(value, f"{prefix}{name}.", depth + 1)


def _word(value: Any) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
    return None


def _names(said: Any, audience: str | None) -> bool:
    audiences = said if isinstance(said, list) else [said]
    return audience is not None and audience in audiences


def _untimely(claims: Mapping[str, Any], rule: Proof, now: datetime) -> Unproven | None:
    made, ends = _instant(claims.get("iat")), _instant(claims.get("exp"))
    begins = _instant(claims["nbf"]) if "nbf" in claims else made
    if made is None or ends is None or begins is None:
        return Unproven(Reason.ProofInvalid, "it does not say when it was made (iat) and when it ends (exp) in seconds")
    skew = rule.clock_skew
    if now >= ends + skew:
        return Unproven(Reason.ProofExpired, "it has expired; get a new one and ask again")
    if now >= made + rule.max_age + skew:
        return Unproven(Reason.ProofTooOld, f"it was made longer ago than maxAge ({_words(rule.max_age)}) allows")
    if max(begins, made) > now + skew:
        return Unproven(
            Reason.ProofNotYetValid, "it says of itself that it is not valid yet; are the clocks of both sides right?"
        )
    return None


def _instant(said: Any) -> datetime | None:
    """A NumericDate; what no calendar has is none. Source: RFC 7519, section 2."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said < _LATEST.timestamp():
        return None
    return datetime.fromtimestamp(said, UTC)


def _words(span: timedelta) -> str:
    return f"{span.total_seconds():g}s"
