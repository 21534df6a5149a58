"""What every plug-in of a policy has to keep to, as tests: subclass `DecisionConformance` or `VerifierConformance` in a test module, and run pytest.

    from controller.providers.policy_conformance import DecisionConformance, DecisionSubject

    class TestMine(DecisionConformance):
        async def subject(self) -> DecisionSubject:
            surroundings = Surroundings("AuthorizationPolicy team/mine", "team", clock=SystemClock())
            point = Mine({"url": self.server.url}, surroundings)
            return DecisionSubject(plug=point, surroundings=surroundings, permitted=asked(job={"name": "nightly"}))

Each test makes its own subject, on an event loop of its own, and calls it as the controller does. Needs nothing but the standard library: `unittest.SkipTest`
says which promises a plug-in does not make. `conformance` is the suite of credential providers. Invariant: a test fails only for what the Protocol promises.
"""

import asyncio
import unittest
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.reasons import Reason
from controller.domain.trust import Decision, Plugin, Proof, ProofMethod
from controller.gates.enquiries import Away, Judged
from controller.providers import deciding, verifying
from controller.providers.authorization import DecisionPoint
from controller.providers.guard import Guard
from controller.providers.promises import Conformance, Tested, cut_off
from controller.providers.protocol import Secret, Unavailable
from controller.providers.verification import ProofVerifier


class _Subject(Tested, frozen=True, kw_only=True):
    plug: Any


Asked = TypeVar("Asked", bound=_Subject)


class _PluginConformance(Conformance[Asked]):
    """What is the same for both."""

    async def _called(self, subject: Asked) -> object:
        """Ask it, as nobody who is careful would."""
        raise NotImplementedError

    async def _asked(self, subject: Asked) -> tuple[bool, str]:
        """Ask it as the controller does: whether that was a yes, and everything that is shown of it."""
        raise NotImplementedError

    def test_a_broken_backend_is_never_a_yes_and_has_words(self) -> None:
        """An outage, or a refusal."""

        async def check(subject: Asked) -> None:
            yes, shown = await self._asked(subject)
            assert not yes, "a broken backend said yes"
            assert "does not say why" not in shown
            subject.unseen(shown)

        self._with(self.broken, check)

    def test_a_hanging_backend_is_cut_off(self) -> None:
        """Cancelled by whoever waits, it lets go."""

        async def check(subject: Asked) -> None:
            quick = msgspec.structs.replace(subject, timeout=timedelta(milliseconds=300))
            yes, _ = await asyncio.wait_for(self._asked(quick), 30)
            assert not yes, "a backend that does not answer said yes"
            await cut_off(self._called(subject))

        self._with(self.hanging, check)

    def test_no_secret_is_seen_by_accident(self) -> None:
        """Neither in what is printed of it, nor in what it says."""

        async def check(subject: Asked) -> None:
            _, shown = await self._asked(subject)
            subject.unseen(repr(subject.plug), str(subject.plug), shown)

        self._with(self.subject, check)


# Decision points


def asked(**changed: Any) -> Mapping[str, Any]:
    """What a decision point is shown of a run, with all of its keys; a map that is given changes keys of that name, a list takes its place."""
    plain: dict[str, Any] = {
        "job": {"name": "job", "namespace": "team", "labels": {}, "target": "shell", "executor": "Local", "digest": ""},
        "identity": {
            "declared": True,
            "kind": "Service",
            "principal": "conformance",
            "runAs": "",
            "scopes": [],
            "delegation": "None",
            "attestation": "",
        },
        "trust": {"level": "Supervised", "rank": 2},
        "proof": {"verified": False, "method": "", "issuer": "", "subject": "", "claims": {}, "lists": {}},
        "request": {"cause": "Manual", "actor": "", "attempt": 1, "parameters": {}},
        "parents": [],
        "source": {"name": "manifests", "revision": "", "signed": False, "signer": ""},
        "time": {"now": "2026-01-01T12:00:00Z", "date": "2026-01-01", "hour": 12, "minute": 0, "weekday": 4},
    }
    return {
        name: changed.get(name, value) if isinstance(value, list) else {**value, **changed.get(name, {})}
        for name, value in plain.items()
    }


class DecisionSubject(_Subject, frozen=True, kw_only=True):
    """A decision point, and what it permits and denies: see `asked`."""

    plug: DecisionPoint
    permitted: Mapping[str, Any] | None = None
    denied: Mapping[str, Any] | None = None


class DecisionConformance(_PluginConformance[DecisionSubject]):
    """Subclass it."""

    def test_it_decides(self) -> None:
        """About any run: yes, no, or ask people."""

        async def check(subject: DecisionSubject) -> None:
            for shown in (asked(), subject.permitted, subject.denied):
                found = await _judged(subject, shown or asked())
                assert isinstance(found, Judged), found
                assert found.understood, found.message

        self._with(self.subject, check)

    def test_it_permits_what_it_permits_and_nothing_else(self) -> None:
        """Whoever else is asked about at the same time."""

        async def check(subject: DecisionSubject) -> None:
            questions = [(Decision.Permit, subject.permitted), (Decision.Deny, subject.denied)] * 4
            known = [(decision, shown) for decision, shown in questions if shown is not None]
            if not known:
                raise unittest.SkipTest("nothing is said of what it decides")
            found = await asyncio.gather(*(_judged(subject, shown) for _, shown in known))
            for (decision, _), one in zip(known, found, strict=True):
                assert isinstance(one, Judged), one
                assert one.decision is decision, f"{one.decision} instead of {decision}: {one.message}"

        self._with(self.subject, check)

    def test_a_question_changes_nothing(self) -> None:
        """Somebody may only want to know; who asks again is told the same."""

        async def check(subject: DecisionSubject) -> None:
            shown = subject.permitted or asked()
            first, *others = [await _judged(subject, shown) for _ in range(3)]
            assert all(one == first for one in others), "the answer changes when it is asked again"

        self._with(self.subject, check)

    async def _called(self, subject: DecisionSubject) -> object:
        return await subject.plug.decide(subject.permitted or asked())

    async def _asked(self, subject: DecisionSubject) -> tuple[bool, str]:
        found = await _judged(subject, subject.permitted or asked())
        # A decision need not have a reason.
        return isinstance(found, Judged) and found.decision is Decision.Permit, found.message


async def _judged(subject: DecisionSubject, shown: Mapping[str, Any]) -> Judged | Away:
    guard = Guard(subject.surroundings, subject.timeout)
    mine = msgspec.json.decode(msgspec.json.encode(shown))
    return deciding.judged(await guard.ask(lambda: subject.plug.decide(mine)), guard)


# Verifiers of proofs

_NO_PROOFS = ("", "jobwarden-conformance-no-proof", "e30.e30.e30", "x" * 65_536, "\x00\u2028\U0001f511")


class VerifierSubject(_Subject, frozen=True, kw_only=True):
    """A verifier, and what it takes."""

    plug: ProofVerifier
    proof: str  # one that holds now, and for a minute more
    rejected: tuple[
        str, ...
    ] = ()  # ones that do not: expired, of another issuer, for somebody else, changed by a character
    issuer: str | None = None  # that the policy names
    audience: str | None = None


class VerifierConformance(_PluginConformance[VerifierSubject]):
    """Subclass it."""

    def test_it_takes_a_proof_that_holds(self) -> None:
        """What it states of one, the controller believes."""

        async def check(subject: VerifierSubject) -> None:
            found = await _verdict(subject, subject.proof)
            assert isinstance(found, Proven), found

        self._with(self.subject, check)

    def test_it_takes_nothing_else(self) -> None:
        """Whatever anybody may show is a verdict, not an outage: else one request could have everybody else's put off."""

        async def check(subject: VerifierSubject) -> None:
            for text in (*_NO_PROOFS, subject.proof[:-1], subject.proof + "x", subject.proof * 2, *subject.rejected):
                found = await _verdict(subject, text)
                assert not isinstance(found, Proven), "it takes what is no proof"
                assert isinstance(found, Unproven), "what is no proof is a verdict, not an outage"
                assert found.reason != Reason.ProofNotChecked, "what is no proof is Rejected"

        self._with(self.subject, check)

    def test_looking_at_a_proof_uses_nothing_up(self) -> None:
        """Who waits for an approval is looked at again; whether an id has been used is not for a verifier to say."""

        async def check(subject: VerifierSubject) -> None:
            first, *others = [await _verdict(subject, subject.proof) for _ in range(3)]
            assert isinstance(first, Proven), first
            for other in others:
                assert isinstance(other, Proven), "the second look finds something else"
                assert (other.subject, other.once) == (first.subject, first.once), "the second look finds somebody else"

        self._with(self.subject, check)

    def test_several_proofs_at_once_do_not_meet(self) -> None:
        """Everybody is told of their own."""

        async def check(subject: VerifierSubject) -> None:
            texts = [subject.proof, _NO_PROOFS[1]] * 4
            found = await asyncio.gather(*(_verdict(subject, text) for text in texts))
            assert [isinstance(one, Proven) for one in found] == [text == subject.proof for text in texts]

        self._with(self.subject, check)

    def test_nobody_elses_proof_is_taken(self) -> None:
        """The issuer and the audience of the policy are those of the proof."""

        async def check(subject: VerifierSubject) -> None:
            others = [
                {name: "urn:jobwarden:conformance:nobody"} for name in ("issuer", "audience") if getattr(subject, name)
            ]
            if not others:
                raise unittest.SkipTest("nothing is said of issuer and audience")
            for other in others:
                found = await _verdict(msgspec.structs.replace(subject, **other), subject.proof)
                assert isinstance(found, Unproven), "it takes a proof of another issuer, or for somebody else"

        self._with(self.subject, check)

    async def _called(self, subject: VerifierSubject) -> object:
        rule = _rule(subject)
        return await subject.plug.verify(Secret(subject.proof), verifying.asked(rule, "team", "job"))

    async def _asked(self, subject: VerifierSubject) -> tuple[bool, str]:
        found = await _verdict(subject, subject.proof)
        msgspec.structs.replace(subject, secrets=(subject.proof,)).unseen(repr(found))
        return isinstance(found, Proven), repr(found)


def _rule(subject: VerifierSubject) -> Proof:
    return Proof(
        methods=(ProofMethod.Plugin,),
        issuer=subject.issuer,
        audience=subject.audience,
        plugin=Plugin("conformance"),
        timeout=subject.timeout,
    )


async def _verdict(subject: VerifierSubject, text: str) -> Verdict | Unavailable:
    rule, guard = _rule(subject), Guard(subject.surroundings, subject.timeout)
    wanted = verifying.asked(rule, "team", "job")
    found = await guard.ask(lambda: verifying.heard(subject.plug, subject.surroundings, Secret(text), wanted))
    return verifying.verdict(found, rule, "team/job", subject.surroundings.clock.now())
