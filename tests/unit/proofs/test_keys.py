"""Keys as documents declare them and as issuers publish them."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from controller.proofs import keys
from tests.harness import proofs

GOOD = {kind: proofs.public(proofs.key(kind))["keys"][0] for kind in proofs.KINDS}


def small() -> dict[str, Any]:
    """A key that is too short to be trusted."""
    with pytest.warns(match="2048"):
        return dict(jwk.RSAKey.import_key(rsa.generate_private_key(65537, 1024).public_key()).as_dict())


def written(*some: object) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": some}).encode()


@pytest.mark.parametrize("kind", list(proofs.KINDS))
def test_a_key_is_read_with_its_name_and_what_it_is_for(kind: str) -> None:
    """And fits its own algorithms alone."""
    [key] = keys.declared(written(GOOD[kind] | {"use": "sig"}))
    assert key.name == "k1"
    every = {*keys.ASYMMETRIC, *keys.SYMMETRIC, "none"}
    assert {one for one in every if key.fits(one)} == set(proofs.KINDS[kind])
    own = proofs.KINDS[kind][0]
    [bound] = keys.declared(written(GOOD[kind] | {"alg": own}))
    assert {one for one in every if bound.fits(one)} <= {own, "EdDSA", "Ed25519"}


BAD: list[Any] = [
    {},
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
    {"kty": ["RSA"]},
    GOOD["P-256"] | {"crv": "secp256k1"},
    GOOD["P-256"] | {"crv": "P-384"},
    GOOD["P-256"] | {"x": "AAAA"},
    GOOD["P-256"] | {"x": "++++"},
    GOOD["P-256"] | {"x": 7},
    GOOD["P-256"] | {"alg": "RS256"},
    GOOD["RSA"] | {"alg": "HS256"},
    GOOD["RSA"] | {"kid": 7},
    GOOD["RSA"] | {"e": "AA"},
    GOOD["Ed25519"] | {"crv": "Ed448"},
    GOOD["Ed25519"] | {"x": "AAAA"},
]


@pytest.mark.parametrize("one", [*BAD, small()], ids=range(len(BAD) + 1))
def test_a_key_that_cannot_be_used_is_passed_over(one: Any) -> None:
    """An issuer may have keys for others; a set without any other key is an error where somebody declares it."""
    assert [key.name for key in keys.published(written(one, GOOD["P-256"]))] == ["k1"]
    assert keys.published(written(one)) == ()
    with pytest.raises(keys.BadKeys):
        keys.declared(written(one))


@pytest.mark.parametrize("other", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": "verify it"}])
def test_a_key_for_something_else_verifies_nothing(other: dict[str, Any]) -> None:
    """Neither here nor there."""
    assert keys.published(written(GOOD["RSA"] | other)) == ()


@pytest.mark.parametrize("kind", list(proofs.KINDS))
def test_a_private_key_in_a_document_is_an_error(kind: str) -> None:
    """Whoever wrote it has to hear of it, also where good keys stand beside it."""
    private = dict(proofs.key(kind).as_dict(private=True))
    with pytest.raises(keys.BadKeys, match="key 1: it is a private key"):
        keys.declared(written(GOOD["P-256"], private))
    with pytest.raises(keys.BadKeys, match="key 0: it is a private key"):
        keys.declared(written({"kty": "oct", "k": "c2VjcmV0"}))


@given(
    st.binary(max_size=100)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["keys", "kty"]), one),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_published_is_keys_or_an_error(data: bytes) -> None:
    """Never another exception."""
    try:
        keys.published(data)
    except keys.BadKeys:
        return


def test_a_set_has_a_bound() -> None:
    """Each token costs a look at all of them."""
    with pytest.raises(keys.BadKeys, match="more than 64"):
        keys.published(written(*[GOOD["P-256"]] * 65))
