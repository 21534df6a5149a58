"""Signed tokens: which hold, and everything that somebody may try with one that does not."""

import base64
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from controller.domain.proofs import Unproven
from controller.domain.trust import ProofMethod
from controller.proofs import claims, tokens
from tests.harness import proofs
from tests.unit.proofs.looking import JOB, NOW, SECRET, held, look, policy, reason

KEYS = {kind: proofs.key(kind) for kind in proofs.KINDS}
PAIRS = [(kind, algorithm) for kind, fitting in proofs.KINDS.items() for algorithm in fitting]
EC = KEYS["P-256"]
RULE = policy()


def signed(by: jwk.Key = EC, algorithm: str = "ES256", **changed: Any) -> str:
    """A token whose claims are good but for these."""
    return proofs.token(proofs.claims(NOW, **changed), by, algorithm)


@pytest.mark.parametrize(("kind", "algorithm"), PAIRS)
def test_a_token_that_another_library_signed_holds(kind: str, algorithm: str) -> None:
    """With every algorithm of every kind of key; it says who vouches for whom, and with what."""
    proven = held(look(signed(KEYS[kind], algorithm), RULE, KEYS[kind]))
    assert (proven.issuer, proven.subject, proven.key, proven.algorithm) == (
        proofs.ISSUER,
        "alice",
        "k1",
        algorithm,
    )
    assert proven.claims["sub"] == "alice"


@pytest.mark.parametrize("algorithm", proofs.HMACS)
def test_a_token_under_a_shared_secret_holds(algorithm: str) -> None:
    """For the policy that has the same secret, and no other."""
    text = proofs.token(proofs.claims(NOW), SECRET, algorithm)
    rule = policy(ProofMethod.HMAC)
    assert held(look(text, rule)).method is ProofMethod.HMAC
    assert reason(look(text, rule, secret=SECRET[::-1])) == "ProofInvalid"
    assert reason(look(text, rule, secret=SECRET[:31])) == "ProofInvalid"


@pytest.mark.parametrize("kind", list(proofs.KINDS))
@pytest.mark.parametrize(
    "claimed", [*(algorithm for _, algorithm in PAIRS), *proofs.HMACS, "none", "None", "", "ES256K"]
)
def test_an_algorithm_is_never_what_the_token_would_like(kind: str, claimed: str) -> None:
    """All pairs of a key and a name of an algorithm that its signature was not made with are refused."""
    own = proofs.KINDS[kind][0]
    text = _renamed(signed(KEYS[kind], own), claimed)
    same = claimed == own or {claimed, own} == {"EdDSA", "Ed25519"}
    for rule in (RULE, policy(ProofMethod.HMAC), policy(ProofMethod.JWT, ProofMethod.HMAC)):
        verdict = look(text, rule, KEYS[kind], secret=_public_bytes(KEYS[kind])[0])
        # The header is signed too, so even the right name is a change that shows.
        assert isinstance(verdict, Unproven), (claimed, same)


@pytest.mark.parametrize("kind", list(proofs.KINDS))
def test_a_public_key_is_no_shared_secret(kind: str) -> None:
    """However it is written: PEM, DER, JWK. A policy of signatures takes no MAC at all. Source: RFC 8725, section 2.1."""
    for secret in _public_bytes(KEYS[kind]):
        for algorithm in proofs.HMACS:
            text = _mac(secret, algorithm)
            assert reason(look(text, RULE, KEYS[kind])) == "ProofWrongAlgorithm"
            assert reason(look(text, policy(ProofMethod.OIDC), KEYS[kind])) == "ProofWrongAlgorithm"
            assert reason(look(text, policy(ProofMethod.JWT, ProofMethod.HMAC), KEYS[kind])) == "ProofInvalid"


def test_a_published_set_with_a_symmetric_key_verifies_nothing() -> None:
    """What everybody can read is no secret, even where its owner has published it."""
    text = proofs.token(proofs.claims(NOW), SECRET, "HS256")
    octet = jwk.OctKey.import_key(SECRET, {"kid": "k1"})
    assert reason(look(text, RULE, octet)) == "ProofWrongAlgorithm"


def test_what_is_not_signed_is_refused() -> None:
    """`none` in all spellings, an empty signature, no signature."""
    said = proofs.encoded(proofs.claims(NOW))
    for name in ("none", "None", "NONE", "nOnE"):
        for signature in ("", "AA"):
            text = f"{proofs.encoded({'alg': name, 'typ': 'JWT'})}.{said}.{signature}"
            assert reason(look(text, RULE, EC)) == "ProofWrongAlgorithm"
    head, body, _ = signed().split(".")
    assert reason(look(f"{head}.{body}.", RULE, EC)) == "ProofInvalid"
    assert reason(look(f"{head}.{body}", RULE, EC)) == "ProofInvalid"


@pytest.mark.parametrize("text", [signed(), proofs.token(proofs.claims(NOW), SECRET, "HS256")], ids=["ES256", "HS256"])
def test_no_bit_of_a_token_can_be_changed(text: str) -> None:
    """Not one, in no place: neither in what it says nor in how it is spelt."""
    rule = policy(ProofMethod.JWT, ProofMethod.HMAC)
    held(look(text, rule, EC))
    for place in range(len(text)):
        for bit in range(7):
            changed = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]
            assert isinstance(look(changed, rule, EC), Unproven), (place, bit)


@given(
    st.text(max_size=200)
    | st.lists(st.binary(max_size=40), min_size=2, max_size=4).map(lambda parts: ".".join(map(proofs.encoded, parts)))
)
def test_whatever_is_shown_gives_a_verdict(text: str) -> None:
    """Never an exception, never a yes."""
    assert isinstance(look(text, policy(ProofMethod.JWT, ProofMethod.HMAC, ProofMethod.MTLS), EC), Unproven)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"iss": "https://other.example.org"}, "ProofWrongIssuer"),
        ({"iss": None}, "ProofWrongIssuer"),
        ({"iss": [proofs.ISSUER]}, "ProofWrongIssuer"),
        ({"iss": proofs.ISSUER + "/"}, "ProofWrongIssuer"),
        ({"aud": "somebody-else"}, "ProofWrongAudience"),
        ({"aud": None}, "ProofWrongAudience"),
        ({"aud": []}, "ProofWrongAudience"),
        ({"aud": {"jobwarden": 1}}, "ProofWrongAudience"),
        ({"aud": ["Jobwarden"]}, "ProofWrongAudience"),
        ({"exp": None}, "ProofInvalid"),
        ({"iat": None}, "ProofInvalid"),
        ({"exp": "tomorrow"}, "ProofInvalid"),
        ({"exp": True}, "ProofInvalid"),
        ({"exp": 10**30}, "ProofInvalid"),
        ({"exp": -1}, "ProofInvalid"),
        ({"exp": NOW.timestamp() - 31}, "ProofExpired"),
        ({"iat": NOW.timestamp() - 3631}, "ProofTooOld"),
        ({"iat": NOW.timestamp() + 31}, "ProofNotYetValid"),
        ({"nbf": NOW.timestamp() + 31}, "ProofNotYetValid"),
        ({"nbf": "now"}, "ProofInvalid"),
        ({"sub": 7}, "ProofInvalid"),
        ({"jti": ["x"]}, "ProofInvalid"),
        ({claims.JOB: "default/other"}, "ProofWrongJob"),
        ({"deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}}, "ProofInvalid"),
        ({"a.b": 1, "a": {"b": 2}}, "ProofInvalid"),
        ({f"c{number}": number for number in range(300)}, "ProofInvalid"),
    ],
)
def test_a_token_of_the_right_signer_that_says_the_wrong_thing_is_refused(changed: dict[str, Any], why: str) -> None:
    """One claim at a time, each with a reason of its own, and with nothing of the token in the words."""
    verdict = look(signed(**changed), RULE, EC)
    assert reason(verdict) == why
    assert isinstance(verdict, Unproven)
    for value in changed.values():
        if isinstance(value, str) and not value.startswith(proofs.ISSUER):
            assert value not in verdict.message or value == "now"


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": ["other", "jobwarden"]},
        {"exp": NOW.timestamp() - 29},
        {"iat": NOW.timestamp() + 29},
        {"nbf": NOW.timestamp() + 29.5},
        {"iat": NOW.timestamp() - 3629},
        {claims.JOB: JOB},
    ],
)
def test_a_token_within_the_bounds_holds(changed: dict[str, Any]) -> None:
    """Clocks may differ by the skew; one audience among several is enough."""
    held(look(signed(**changed), RULE, EC))


SECONDS = st.integers(-7200, 7200)


@given(made=SECONDS, begins=st.none() | SECONDS, ends=SECONDS, age=st.integers(1, 7200), skew=st.integers(0, 300))
def test_a_proof_holds_from_when_it_may_until_it_may_not(
    made: int, begins: int | None, ends: int, age: int, skew: int
) -> None:
    """Its verdict is that of the clock alone, and `holds_until` is the first instant at which it would be another one."""
    rule = policy(max_age=timedelta(seconds=age), clock_skew=timedelta(seconds=skew))
    at = NOW.timestamp()
    said = proofs.claims(NOW, iat=at + made, exp=at + ends, nbf=None if begins is None else at + begins)
    good = -skew <= -max(made, begins if begins is not None else made) and min(ends, made + age) + skew > 0
    objection = claims.objection(said, rule, JOB, NOW)
    assert (objection is None) is good
    if good:
        until = claims.holds_until(said, rule)
        assert claims.objection(said, rule, JOB, until - timedelta(microseconds=1)) is None
        assert claims.objection(said, rule, JOB, until) is not None


@given(made=SECONDS, ends=SECONDS, age=st.integers(1, 10**9), skew=st.integers(0, 300))
def test_an_id_is_kept_until_no_policy_takes_its_proof(made: int, ends: int, age: int, skew: int) -> None:
    """One that has been used under a policy that takes none older than a second is not good under one that takes those of last year."""
    said = proofs.claims(NOW, iat=NOW.timestamp() + made, exp=NOW.timestamp() + ends)
    patient = policy(max_age=timedelta(seconds=age), clock_skew=timedelta(seconds=skew))
    assert claims.objection(said, patient, JOB, claims.ends(said)) is not None


def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    """Neither in it (jwk) nor at an address that it names (jku, x5u). Source: RFC 8725, section 3.10."""
    stranger = proofs.key("P-256")
    brought = {"jwk": proofs.public(stranger)["keys"][0], "jku": "https://evil.example.org/keys"}
    text = proofs.token(proofs.claims(NOW), stranger, "ES256", **brought)
    assert reason(look(text, RULE, EC)) == "ProofInvalid"


def test_a_key_is_chosen_by_its_name_and_kind() -> None:
    """A name that nobody has is unknown; a token without a name is tried with what fits it."""
    other, nameless = proofs.key("P-256", "k2"), proofs.key("P-256", None)
    assert reason(look(signed(other), RULE, EC)) == "ProofUnknownKey"
    assert reason(look(signed(other), RULE, EC, KEYS["RSA"])) == "ProofUnknownKey"
    held(look(signed(other), RULE, EC, other))
    held(look(signed(nameless), RULE, EC, nameless))
    assert reason(look(signed(nameless), RULE, EC)) == "ProofInvalid"
    assert reason(look(signed(nameless), RULE)) == "ProofUnknownKey"


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}, {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}]
)
def test_what_is_meant_for_something_else_is_refused(header: dict[str, Any]) -> None:
    """Extensions that are not understood, and tokens of another purpose. Source: RFC 7515 section 4.1.11, RFC 8725 section 3.11."""
    head, body, signature = signed().split(".")
    changed = json.loads(base64.urlsafe_b64decode(head + "==")) | header
    assert reason(look(f"{proofs.encoded(changed)}.{body}.{signature}", RULE, EC)) == "ProofInvalid"


@pytest.mark.parametrize(
    "body",
    [
        b'{"iss":"a","iss":"b"}',
        b'{"a":{"b":1,"b":2}}',
        b"[1]",
        b'"text"',
        b'{"exp": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"[" * 5000,
        b"\xef\xbb\xbf{}",
        b"",
    ],
)
def test_json_that_two_readers_may_read_differently_is_refused(body: bytes) -> None:
    """Before any signature is looked at."""
    head, _, signature = signed().split(".")
    with pytest.raises(tokens.Malformed):
        tokens.read(f"{head}.{proofs.encoded(body)}.{signature}")


def test_a_proof_that_is_too_long_is_not_read() -> None:
    """It costs nothing but its length."""
    assert reason(look("a" * (tokens.LONGEST + 1), RULE, EC)) == "ProofInvalid"


def test_claims_become_text_and_lists_for_rules() -> None:
    """Objects by names with dots; what is neither text nor a list of it is left out."""
    said = {
        "groups": ["ops", "dev"],
        "realm": {"roles": ["admin"], "n": 1.5},
        "ok": True,
        "odd": [{"a": 1}],
        "nil": None,
    }
    proven = held(look(signed(**said), RULE, EC))
    assert {name: proven.claims[name] for name in ("realm.n", "ok")} == {"realm.n": "1.5", "ok": "true"}
    assert dict(proven.lists) == {"groups": ("ops", "dev"), "realm.roles": ("admin",)}
    assert not {"odd", "nil"} & {*proven.claims, *proven.lists}


def test_an_id_stands_for_one_proof_of_one_issuer() -> None:
    """The same for the same token, whichever way its keys come; another for another id or issuer; none without one."""

    def once(method: ProofMethod = ProofMethod.JWT, issuer: str = proofs.ISSUER, **said: Any) -> str | None:
        return held(look(signed(iss=issuer, **said), policy(method, issuer=issuer), EC)).once

    assert once() is None
    assert once(jti="a") == once(ProofMethod.OIDC, jti="a", sub="bob") is not None
    assert len({once(jti="a"), once(jti="b"), once(issuer="https://b.example.org", jti="a")}) == 3


def test_a_token_of_openid_connect_says_who_it_is_about() -> None:
    """One without a subject is none."""
    assert reason(look(signed(sub=None), policy(ProofMethod.OIDC), EC)) == "ProofInvalid"


def test_an_api_key_is_compared_as_it_is() -> None:
    """Also one that looks like a token; a key that somebody could guess is not taken."""
    rule = policy(ProofMethod.APIKey)
    for secret in (b"0123456789abcdef", signed().encode(), "schlüssel-ohne-token".encode()):
        assert held(look(secret.decode(), rule, secret=secret)).method is ProofMethod.APIKey
        assert reason(look(secret.decode() + "x", rule, secret=secret)) == "ProofInvalid"
        assert reason(look("", rule, secret=secret)) == "ProofInvalid"
    assert reason(look("short", rule, secret=b"short")) == "ProofInvalid"
    assert reason(look("", rule, secret=b"")) == "ProofInvalid"


def _renamed(text: str, algorithm: str) -> str:
    head, body, signature = text.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    # A blank more, so that also the name that it had is a change.
    return f"{proofs.encoded(json.dumps(header | {'alg': algorithm}).encode() + b' ')}.{body}.{signature}"


def _public_bytes(key: jwk.Key) -> list[bytes]:
    """The public key in every form that somebody may take for a secret."""
    public = jwk.import_key(dict(key.as_dict(private=False)))
    return [public.as_pem(), public.as_der(), json.dumps(public.as_dict()).encode()]  # type: ignore[union-attr]


def _mac(secret: bytes, algorithm: str) -> str:
    """By hand: libraries refuse to do this."""
    text = f"{proofs.encoded({'alg': algorithm, 'typ': 'JWT', 'kid': 'k1'})}.{proofs.encoded(proofs.claims(NOW))}"
    return f"{text}.{proofs.encoded(hmac.digest(secret, text.encode(), 'sha' + algorithm[2:]))}"
