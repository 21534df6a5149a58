"""What can be said of a bundle: whose it is, whether it holds, and what is wrong with it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.evidence import bundle, dsse
from controller.evidence.checkpoint import Why
from controller.evidence.dsse import Envelope, Signature
from controller.evidence.verify import Verified, verify
from tests.evidence import found, mark, new_key, statements

KEY, OTHER = new_key(), new_key(curve=True)
CHAIN = statements(4)


def words(verified: Verified) -> list[str]:
    return [
        *(one.message for one in verified.problems),
        *(one.message for chain in verified.chains for one in chain.problems),
    ]


def written(*said: bytes, key: Any = KEY) -> list[bytes]:
    """The lines of a bundle."""
    return [
        bundle.line(dsse.to_json(one.envelope)).encode() for one in found(list(said), key) if one.envelope is not None
    ]


def test_a_signed_bundle_is_verified() -> None:
    """It says how many statements, by which key, and where the chain ends."""
    verified = verify(bundle.lines(written(*CHAIN, mark(4, CHAIN[3]))), [OTHER.public, KEY.public])
    assert verified.good
    (chain,) = verified.chains
    assert (chain.namespace, chain.job, chain.statements, chain.first, chain.last) == ("default", "nightly", 4, 1, 4)
    assert (chain.signed, chain.signers) == (4, (KEY.public.key_id,))


def test_without_keys_nobody_is_called_the_signer() -> None:
    """The chain was checked, and no more."""
    (chain,) = verify(bundle.lines(written(*CHAIN, key=None))).chains
    assert (chain.signed, chain.signers, chain.problems) == (0, (), ())


def test_a_signature_of_somebody_else_is_none() -> None:
    """A key that was not given counts for nothing, whatever it says its name is."""
    assert len(words(verify(bundle.lines(written(*CHAIN, key=OTHER)), [KEY.public]))) == 4
    plain = Envelope(CHAIN[0])
    forged = Envelope(CHAIN[0], (Signature(OTHER.sign(plain).sig, KEY.public.key_id),))
    (problem,) = words(verify([bundle.Found("line 1", forged)], [KEY.public]))
    assert problem == "it is not what was signed: the statement or the signature was changed"


def test_what_is_not_signed_is_named() -> None:
    """Statements and checkpoints alike: an unsigned checkpoint excuses nothing."""
    lines = [*written(*CHAIN[2:]), *written(mark(2, CHAIN[1], Why.Pruned), key=None)]
    assert words(verify(bundle.lines(lines), [KEY.public])) == ["its checkpoint (Pruned) is not signed"]


def test_several_signatures_are_fine_if_one_is_known() -> None:
    """DSSE allows them, for a change of keys."""
    plain = Envelope(CHAIN[0])
    both = Envelope(CHAIN[0], (OTHER.sign(plain), KEY.sign(plain)))
    assert verify([bundle.Found("line 1", both)], [KEY.public]).good


def test_chains_of_several_jobs_are_told_apart() -> None:
    """Bundles may be put together."""
    other = [one.replace(b'"nightly"', b'"daily"') for one in statements(1)]
    verified = verify(bundle.lines(written(*CHAIN, *other)), [KEY.public])
    assert [(one.job, one.statements) for one in verified.chains] == [("daily", 1), ("nightly", 4)]


def test_a_statement_in_a_foreign_chain_is_found() -> None:
    """The run that it is about belongs to another job."""
    moved = CHAIN[0].replace(
        b'"job":"nightly","namespace":"default","previous"', b'"job":"daily","namespace":"default","previous"'
    )
    assert moved != CHAIN[0]
    (problem,) = words(verify(found([moved], KEY), [KEY.public]))
    assert "is about run nightly-1 of default/nightly, and yet in the chain of default/daily" in problem


def test_what_others_state_is_passed_over() -> None:
    """Bundles may hold anything; of a line that cannot be read it is said."""
    foreign = json.dumps(
        {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x", "predicate": 1}
    )
    lines = [*written(*CHAIN), *written(foreign.encode()), b"", b'{"payloadType":"t","payload":"","signatures":[]}']
    assert verify(bundle.lines(lines), [KEY.public]).good
    (problem,) = words(verify(bundle.lines([*lines, b"broken"]), [KEY.public]))
    assert problem.startswith("line 8: it is no DSSE envelope")


def test_an_empty_bundle_is_not_good() -> None:
    """Nothing was verified."""
    assert not verify([]).good


@given(st.lists(st.binary(max_size=80) | st.sampled_from(written(*CHAIN)), max_size=6))
def test_nothing_breaks_the_verification(lines: list[bytes]) -> None:
    """Any lines give a verdict."""
    verify(bundle.lines(lines), [KEY.public])


@given(st.integers(0, 3), st.data())
def test_any_change_of_a_line_of_a_signed_bundle_is_found_or_changes_nothing(index: int, data: st.DataObject) -> None:
    """With keys: what is accepted says, byte for byte, what was signed."""
    lines = written(*CHAIN, mark(4, CHAIN[3]))
    at = data.draw(st.integers(0, len(lines[index]) - 2))
    byte = data.draw(st.integers(32, 126).filter(lambda one: one != lines[index][at]))
    changed = [*lines]
    changed[index] = lines[index][:at] + bytes([byte]) + lines[index][at + 1 :]
    if verify(bundle.lines(changed), [KEY.public]).good:
        (one,) = bundle.lines([changed[index]])
        assert one.envelope is not None
        assert one.envelope.payload == CHAIN[index]
