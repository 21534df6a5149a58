"""Verifiers that are plug-ins: what they state is compared by us, and what they say otherwise comes out nowhere."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.app.credentials import around
from controller.base.references import Allowed, EnvRef, SecretSource
from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.reasons import Reason
from controller.domain.trust import Plugin, Proof, ProofMethod
from controller.gates.enquiries import ProofEnquiry
from controller.providers import verifying
from controller.providers.plugged import LEFT_ALONE
from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings
from controller.providers.verification import VERIFIERS, Rejected, Verified, Wanted, Why
from controller.providers.verifying import Verifiers
from tests.unit.providers.clocks import NOW, Hand

PROOF = "canary-of-a-proof-that-nobody-sees"
SKEW = timedelta(seconds=30)
Does = Callable[["Verifier", Secret, Wanted], Awaitable[Any]]
SOON = NOW + timedelta(minutes=5)


class Verifier:
    """Does what a test says."""

    does: Does
    made: list["Verifier"] = []  # noqa: RUF012 - a test's own

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        if "key" in config:
            surroundings.check("spec.proof.plugin.config.key", SecretSource(env_ref=EnvRef("KEY")))
        self.config, self.surroundings = config, surroundings
        self.asked: list[tuple[str, Wanted]] = []
        Verifier.made.append(self)

    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        self.asked.append((proof.reveal(), wanted))
        return await Verifier.does(self, proof, wanted)


@pytest.fixture
def plugins() -> Iterator[Callable[..., Verifiers]]:
    """Of a controller that has the plug-in `mine`."""
    Verifier.made = []
    sys.modules["jw_verifying"] = sys.modules[__name__]

    def make(does: Does, **options: Any) -> Verifiers:
        Verifier.does = does
        clock = Hand()
        places = around(clock, allowed=Allowed(frozenset({"KEY"})), environment={}, **options)
        points = [EntryPoint("mine", "jw_verifying:Verifier", VERIFIERS.name)]
        return Verifiers(lambda: Registry(VERIFIERS, points), places, clock)

    yield make
    del sys.modules["jw_verifying"]


def rule(type_: str = "mine", config: Mapping[str, Any] = {}, **fields: Any) -> Proof:
    """What is wanted."""
    return Proof(methods=(ProofMethod.Plugin,), plugin=Plugin(type_, config), **fields)


def enquiry(wanted: Proof, of: str = "AuthorizationPolicy team/mine") -> ProofEnquiry:
    """Of a job of the namespace `team`."""
    home = "" if of.startswith("Cluster") else "team"
    return ProofEnquiry(of=of, namespace="team", job="job", policy_namespace=home, rule=wanted)


def gives(answer: object) -> Does:
    async def give(_self: Verifier, _proof: Secret, _wanted: Wanted) -> object:
        return answer

    return give


async def found(plugins: Callable[..., Verifiers], answer: object, **fields: Any) -> Verdict | Unavailable:
    """What becomes of an answer."""
    verifiers = plugins(gives(answer))
    verdict = await verifiers.look(enquiry(rule(**fields)), PROOF)
    await verifiers.close()
    return verdict


async def test_what_is_stated_is_what_is_proved(plugins: Callable[..., Verifiers]) -> None:
    """The verifier is told what the policy wants; claims become words for rules, an id a digest."""
    said = Verified(
        subject="ann",
        issuer="urn:example:issuer",
        audiences=("jobwarden", "other"),
        issued_at=NOW - timedelta(minutes=1),
        expires_at=SOON,
        id="one",
        claims={"team": "ops", "groups": ["a", "b"], "deep": {"er": 1}},
        key="k1",
        algorithm="X1",
    )
    proven = await found(plugins, said, issuer="urn:example:issuer", audience="jobwarden", max_age=timedelta(hours=2))
    assert isinstance(proven, Proven)
    assert proven.holds_until == SOON + SKEW
    assert (proven.method, proven.subject, proven.issuer) == (ProofMethod.Plugin, "ann", "urn:example:issuer")
    assert (proven.key, proven.algorithm) == ("k1", "X1")
    assert proven.claims == {"team": "ops", "deep.er": "1"}
    assert proven.lists == {"groups": ("a", "b")}
    assert proven.once is not None
    assert "one" not in proven.once
    [(shown, wanted)] = [asked for one in Verifier.made for asked in one.asked]
    assert shown == PROOF
    assert (wanted.namespace, wanted.job, wanted.max_age) == ("team", "job", timedelta(hours=2))
    assert (wanted.issuer, wanted.audience) == ("urn:example:issuer", "jobwarden")


instants = st.none() | st.integers(-10_000, 10_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(instants, instants, instants)
def test_a_proof_holds_for_maxage_at_most_whatever_is_stated(
    made: datetime | None, begins: datetime | None, ends: datetime | None
) -> None:
    """And what is stated is bounded so that its id is remembered until it is none any more."""
    wanted = rule(max_age=timedelta(seconds=3600))
    said = Verified(subject="ann", issued_at=made, not_before=begins, expires_at=ends, id="one")
    answer = asyncio.run(verifying.heard(Saying(said), None, Secret(PROOF), None))  # type: ignore[arg-type]
    verdict = verifying.verdict(answer, wanted, "team/job", NOW)
    if isinstance(verdict, Proven):
        assert made is not None or ends is not None
        assert verdict.holds_until <= NOW + wanted.max_age + 2 * SKEW
        assert verdict.holds_until > NOW
        assert made is None or made - SKEW <= NOW < made + wanted.max_age + SKEW
        assert begins is None or begins <= NOW + SKEW
        assert ends is None or ends + SKEW > NOW
        # The last instant at which it would be taken by whoever looks at it later.
        later = verdict.holds_until
        assert isinstance(verifying.verdict(answer, wanted, "team/job", later), Unproven)
        # Its id is kept until no policy takes it.
        assert verdict.once_until is not None
        patient = rule(max_age=timedelta(days=36_500), clock_skew=timedelta(minutes=5))
        assert isinstance(verifying.verdict(answer, patient, "team/job", verdict.once_until), Unproven)
    else:
        assert isinstance(verdict, Unproven)


class Saying:
    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        return self._answer


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Verified(subject="ann"), Reason.ProofInvalid),
        (Verified(expires_at=NOW - SKEW), Reason.ProofExpired),
        (Verified(issued_at=NOW - timedelta(hours=1) - SKEW), Reason.ProofTooOld),
        (Verified(expires_at=NOW + timedelta(hours=2)), Reason.ProofTooOld),
        (Verified(expires_at=datetime(9999, 12, 31, tzinfo=UTC)), Reason.ProofTooOld),
        (Verified(issued_at=NOW + timedelta(minutes=1)), Reason.ProofNotYetValid),
        (Verified(issued_at=NOW, not_before=NOW + timedelta(minutes=1)), Reason.ProofNotYetValid),
        (Verified(expires_at=SOON, issuer="urn:other"), Reason.ProofWrongIssuer),
        (Verified(expires_at=SOON, issuer="urn:us"), Reason.ProofWrongAudience),
        (Verified(expires_at=SOON, issuer="urn:us", audiences=("urn:me2",)), Reason.ProofWrongAudience),
        (
            Verified(
                expires_at=SOON, issuer="urn:us", audiences=("urn:me",), claims={"jobwarden.dev/job": "team/other"}
            ),
            Reason.ProofWrongJob,
        ),
    ],
)
async def test_what_does_not_fit_the_policy_is_no_proof_whatever_its_verifier_says(
    plugins: Callable[..., Verifiers], said: Verified, reason: Reason
) -> None:
    """Issuer, audience, job, age and end are for us to compare."""
    about = {} if not said.issuer else {"issuer": "urn:us", "audience": "urn:me"}
    verdict = await found(plugins, said, **about)
    assert isinstance(verdict, Unproven)
    assert verdict.reason == reason


@pytest.mark.parametrize(
    "lie",
    [
        {"subject": 7},
        {"subject": "x" * 1025},
        {"subject": "\ud800"},
        {"subject": f"it is {PROOF}"},
        {"key": PROOF},
        {"claims": {"token": PROOF}},
        {"claims": {"deep": {"er": ["x", f'"{PROOF}"']}}},
        {"claims": {PROOF: "x"}},
        {"issuer": None},
        {"audiences": "jobwarden"},
        {"audiences": ("a",) * 65},
        {"audiences": (7,)},
        {"id": ""},
        {"id": 7},
        {"id": "x" * 100_000},
        {"claims": []},
        {"claims": {"x": "y" * 70_000}},
        {"claims": {"x": object()}},
        {"claims": {"x": float("nan"), 7: Secret("x")}},
        {"claims": {str(number): "x" for number in range(201)}},
        {"claims": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}},
        {"expires_at": "2027-01-01"},
        {"expires_at": SOON.replace(tzinfo=None)},
        {"expires_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
        {"issued_at": 7},
    ],
)
async def test_what_cannot_be_read_is_no_proof_and_is_not_quoted(
    plugins: Callable[..., Verifiers], lie: dict[str, Any]
) -> None:
    """Plug-ins are not type-checked; one that states the proof itself would have it written down."""
    verdict = await found(plugins, Verified(**{"expires_at": SOON, **lie}))
    assert isinstance(verdict, Unproven)
    assert verdict.reason == Reason.ProofNotChecked
    assert PROOF not in verdict.message
    assert len(verdict.message) < 300


@pytest.mark.parametrize(
    "answer", [None, True, "yes", {"subject": "ann"}, Proven(method=ProofMethod.JWT, holds_until=SOON), Rejected("no")]
)  # type: ignore[arg-type]
async def test_what_is_no_answer_proves_nothing(plugins: Callable[..., Verifiers], answer: object) -> None:
    """However much it looks like one of ours."""
    verdict = await found(plugins, answer)
    assert isinstance(verdict, Unproven)
    assert verdict.reason == Reason.ProofNotChecked
    assert "the plug-in mine cannot check it: it answered with" in verdict.message


@pytest.mark.parametrize("name", [PROOF, PROOF[10:30], PROOF.replace("-", "_"), "x" * 10_000])
async def test_not_even_the_name_of_a_type_quotes_the_proof(plugins: Callable[..., Verifiers], name: str) -> None:
    """Whether it is answered or raised."""
    made = type(name, (Exception,), {})

    async def fail(_self: Verifier, _proof: Secret, _wanted: Wanted) -> Any:
        raise made

    for does in (gives(made()), fail):
        verifiers = plugins(does)
        verdict = await verifiers.look(enquiry(rule()), PROOF)
        assert isinstance(verdict, Unproven | Unavailable)
        assert PROOF not in verdict.message
        assert PROOF[10:30] not in verdict.message
        assert len(verdict.message) < 200
        await verifiers.close()


@pytest.mark.parametrize("why", list(Why))
async def test_why_it_is_none_is_said_in_our_words(plugins: Callable[..., Verifiers], why: Why) -> None:
    """One for each reason."""
    verdict = await found(plugins, Rejected(why))
    assert isinstance(verdict, Unproven)
    assert verdict.reason == Reason(why.value)
    assert verdict.message.startswith("the plug-in mine does not take it: ")


async def test_no_words_of_a_verifier_come_out(plugins: Callable[..., Verifiers]) -> None:
    """They could quote the proof; those that its surroundings gave are ours."""

    async def say(self: Verifier, proof: Secret, _wanted: Wanted) -> Any:
        match self.config["how"]:
            case "refuse":
                return Refused(f"who is {proof.reveal()}?")
            case "away":
                return Unavailable(f"later, {proof.reveal()}", timedelta(days=400))
            case "raise":
                raise RuntimeError(proof.reveal())
            case "exit":
                sys.exit(proof.reveal())
            case _:
                return await self.surroundings.read(SecretSource(env_ref=EnvRef(self.config["how"])))

    verifiers = plugins(say)
    said = {}
    for how in ("refuse", "away", "raise", "exit", "KEY", "PATH"):
        wanted = rule(config={"how": how})
        said[how] = await verifiers.look(enquiry(wanted, f"AuthorizationPolicy team/{how.lower()}"), PROOF)
        assert PROOF not in repr(said[how])
        assert not isinstance(said[how], Proven)
    refused = Unproven(Reason.ProofNotChecked, "the plug-in mine cannot check it: it says that it cannot")
    assert said["refuse"] == refused
    assert said["away"] == Unavailable("the plug-in mine cannot be asked: it says that it cannot now", LEFT_ALONE)
    assert said["raise"] == Unavailable("the plug-in mine cannot be asked: it broke with RuntimeError")
    assert "end the process" in repr(said["exit"])
    assert "KEY" in repr(said["KEY"])
    assert "allowEnv" in repr(said["PATH"])
    await verifiers.close()


async def test_one_that_hangs_or_blocks_is_given_up(plugins: Callable[..., Verifiers]) -> None:
    """Another one is asked meanwhile."""

    async def stuck(self: Verifier, _proof: Secret, _wanted: Wanted) -> Any:
        if self.config["how"] == "block":
            time.sleep(1)
        await asyncio.Event().wait()

    verifiers = plugins(stuck)
    for how in ("block", "hang"):
        wanted = rule(config={"how": how}, timeout=timedelta(milliseconds=100))
        verdict = await verifiers.look(enquiry(wanted, f"AuthorizationPolicy team/{how}"), PROOF)
        assert verdict == Unavailable("the plug-in mine cannot be asked: no answer within 100ms")
    await verifiers.close()


async def test_a_plugin_that_cannot_be_had_checks_nothing(plugins: Callable[..., Verifiers]) -> None:
    """Which is a refusal."""
    verifiers = plugins(gives(None))
    verdict = await verifiers.look(enquiry(rule("nobody-has-it")), PROOF)
    assert isinstance(verdict, Unproven)
    assert verdict.reason == Reason.ProofNotChecked
    assert "the proof verifier type 'nobody-has-it' is not loaded" in verdict.message


async def test_in_a_cluster_a_policy_of_a_namespace_reads_nothing_of_the_controllers_host(
    plugins: Callable[..., Verifiers],
) -> None:
    """As its decision point and its provider do not."""
    verifiers = plugins(gives(Verified(expires_at=SOON)), tokens=object())
    wanted = rule(config={"key": True})
    refused = await verifiers.look(enquiry(wanted), PROOF)
    assert isinstance(refused, Unproven)
    assert "declare a ClusterAuthorizationPolicy" in refused.message
    assert isinstance(await verifiers.look(enquiry(wanted, "ClusterAuthorizationPolicy mine"), PROOF), Proven)
    await verifiers.close()


async def test_an_id_is_its_issuers_or_its_verifiers(plugins: Callable[..., Verifiers]) -> None:
    """The same for the same proof, and another one for another issuer."""
    once = []
    for issuer in ("", "a", "b", "a"):
        proven = await found(plugins, Verified(expires_at=SOON, issuer=issuer, id="one"))
        assert isinstance(proven, Proven)
        once.append(proven.once)
    assert once[1] == once[3]
    assert len(set(once)) == 3
