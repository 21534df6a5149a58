"""Proofs looked at for the gates: where they are read, what they are checked with, and that nothing of either gets out."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.base.masking import SECRETS
from controller.base.references import Allowed, EnvRef, FileRef, SecretKeyRef, SecretSource, Unreadable
from controller.domain.proofs import Proven, Unproven, Verdict
from controller.domain.trust import Credential, Plugin, Proof, ProofMethod, Ref
from controller.gates.enquiries import Away, ProofEnquiry, ProofFinding
from controller.loops.proving import Proving
from controller.providers.key_sets import KeySets
from controller.providers.protocol import Refused, Secret, Unavailable
from controller.providers.registry import Registry
from controller.providers.surroundings import Surroundings
from controller.providers.verification import VERIFIERS, ProofVerifier, Verified, Wanted
from controller.providers.verifying import Verifiers
from tests.harness import proofs
from tests.harness.issuer import KEYS, Issuer

SECRET = "canary-secret-of-sixty-four-bytes-which-every-hash-takes-for-a-key!"
CLOCK = SystemClock()
OWN, CLUSTER = Ref("own", "CredentialProvider"), Ref("all", "ClusterCredentialProvider")


class Providers:
    """Whoever asks providers; notes for whom."""

    def __init__(self) -> None:
        self.answer: Secret | Refused | Unavailable = Secret(SECRET)
        self.asked: list[tuple[str, str]] = []

    async def credential(self, wanted: Credential, user: str, job: str) -> Secret | Refused | Unavailable:
        self.asked.append((wanted.provider.name, user))
        return self.answer


class Verifier:
    """Takes the secret; of everything else it says too much."""

    def __init__(self, config: Any, surroundings: Surroundings) -> None:
        pass

    async def verify(self, proof: Secret, wanted: Wanted) -> Any:
        if proof.reveal() != SECRET:
            raise RuntimeError(f"{proof.reveal()} is no proof")
        return Verified(subject="ann", expires_at=CLOCK.now() + timedelta(minutes=1), id="one")


class Shelf:
    """Secrets of a cluster."""

    def __init__(self, *found: str | Unreadable) -> None:
        self.found = list(found)
        self.asked: list[tuple[str, str, str]] = []

    async def read(self, namespace: str, name: str, key: str) -> str | Unreadable:
        self.asked.append((namespace, name, key))
        return self.found.pop(0)


class Desk:
    """Asks as the gate does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.providers, self.secrets = folder, Providers(), Shelf()
        self.tenants = False  # namespaces are of somebody else than the controller

    def _surroundings(self, namespace: str) -> Surroundings:
        allowed = Allowed(frozenset({"PROOF"}), (self.folder,))
        return Surroundings(
            "requests",
            namespace,
            clock=CLOCK,
            allowed=allowed,
            environment={"PROOF": SECRET},
            host=not (self.tenants and namespace),
            secrets=self.secrets,
        )

    async def ask(
        self, rule: Proof, presented: SecretSource | None, policy_namespace: str = "default"
    ) -> Verdict | Away:
        """What becomes of a proof."""
        of = "AuthorizationPolicy default/p"
        enquiry = ProofEnquiry(
            of=of, namespace="default", job="job", policy_namespace=policy_namespace, rule=rule, presented=presented
        )
        verifiers = Verifiers(self._registry, lambda _name, home: self._surroundings(home), CLOCK)
        answer = await Proving(self.providers, self._surroundings, KeySets(CLOCK), verifiers, CLOCK).answer(enquiry)
        await verifiers.close()
        if isinstance(answer, Away):
            return answer
        assert isinstance(answer, ProofFinding)
        return answer.verdict

    def _registry(self) -> Registry[ProofVerifier]:
        return Registry(VERIFIERS, [EntryPoint("mine", f"{__name__}:Verifier", VERIFIERS.name)])

    def file(self, text: str) -> SecretSource:
        """A proof that somebody has put down."""
        path = self.folder / "proof"
        path.write_text(text + "\n", encoding="utf-8")
        return SecretSource(file_ref=FileRef(str(path)))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as opened:
        yield opened


def key_rule(**fields: Any) -> Proof:
    """An API key."""
    return Proof(methods=(ProofMethod.APIKey,), secret=Credential(OWN), **fields)


async def test_a_proof_is_read_where_the_request_says(desk: Desk) -> None:
    """A file, a variable, a Secret of the job's namespace."""
    desk.secrets.found = [SECRET]
    places = [
        desk.file(SECRET),
        SecretSource(env_ref=EnvRef("PROOF")),
        SecretSource(secret_key_ref=SecretKeyRef("s", "k")),
    ]
    for place in places:
        assert isinstance(await desk.ask(key_rule(), place), Proven)
    assert desk.secrets.asked == [("default", "s", "k")]


async def test_a_proof_that_is_not_there_is_none_at_once_and_a_secret_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    """What is not on this host has been forgotten; a Secret may be applied together with its request."""
    for place in (
        SecretSource(file_ref=FileRef(str(tmp_path / "nothing"))),
        SecretSource(file_ref=FileRef("/etc/hostname")),
        SecretSource(env_ref=EnvRef("PATH")),
    ):
        verdict = await desk.ask(key_rule(), place)
        assert isinstance(verdict, Unproven)
        assert verdict.reason == "ProofUnreadable"
    desk.secrets.found = [Unreadable("there is no Secret s", permanent=False), Unreadable("no", permanent=True)]
    place = SecretSource(secret_key_ref=SecretKeyRef("s", "k"))
    assert isinstance(await desk.ask(key_rule(), place), Away)
    assert isinstance(await desk.ask(key_rule(), place), Unproven)


async def test_a_policy_of_the_cluster_asks_its_own_providers_for_itself(desk: Desk) -> None:
    """So that its secret need not be allowed to the namespaces that it governs, who could then deliver it to their runs."""
    rule = Proof(methods=(ProofMethod.APIKey,), secret=Credential(CLUSTER), source=Credential(OWN))
    assert isinstance(await desk.ask(rule, None, policy_namespace=""), Proven)
    assert isinstance(await desk.ask(rule, None), Proven)
    assert desk.providers.asked == [("own", "default"), ("all", ""), ("own", "default"), ("all", "default")]


async def test_a_policy_may_have_proofs_looked_at_by_a_plugin(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """It is shown the proof as it is; what it says of another one comes out nowhere."""
    caplog.set_level(logging.DEBUG)
    rule = Proof(methods=(ProofMethod.Plugin,), plugin=Plugin("mine"))
    proven = await desk.ask(rule, desk.file(SECRET))
    assert isinstance(proven, Proven)
    assert (proven.method, proven.subject) == (ProofMethod.Plugin, "ann")
    away = await desk.ask(rule, desk.file("canary-of-another-proof"))
    assert away == Away("the plug-in mine cannot be asked: it broke with RuntimeError")
    assert "canary-of-another-proof" not in caplog.text


@pytest.mark.parametrize("away", [True, False])
async def test_a_secret_that_cannot_be_had_proves_nothing(desk: Desk, away: bool) -> None:
    """An outage is waited for, a refusal is final."""
    desk.providers.answer = Unavailable("away", timedelta(seconds=3)) if away else Refused("no")
    verdict = await desk.ask(key_rule(), desk.file(SECRET))
    if away:
        assert verdict == Away("away", timedelta(seconds=3))
    else:
        assert isinstance(verdict, Unproven)
        assert verdict.reason == "ProofNotChecked"


async def test_an_issuer_that_is_away_is_waited_for(desk: Desk, issuer: Issuer) -> None:
    """One that cannot be trusted is not."""
    rule = Proof(methods=(ProofMethod.OIDC,), issuer=issuer.url, audience="jobwarden")
    issuer.answer(KEYS, {}, 503)
    assert isinstance(await desk.ask(rule, desk.file(issuer.token())), Away)
    issuer.answer("/.well-known/openid-configuration", {"issuer": "https://x", "jwks_uri": issuer.keys_url})
    verdict = await desk.ask(rule, desk.file(issuer.token()))
    assert isinstance(verdict, Unproven)
    assert verdict.reason == "ProofNotChecked"


async def test_a_tenants_policy_does_not_ask_what_listens_beside_the_controller(desk: Desk, issuer: Issuer) -> None:
    """A policy of the cluster may."""
    rule = Proof(methods=(ProofMethod.OIDC,), issuer=issuer.url, audience="jobwarden")
    desk.tenants, desk.secrets.found = True, [issuer.token(), issuer.token()]
    presented = SecretSource(secret_key_ref=SecretKeyRef("s", "k"))
    refused = await desk.ask(rule, presented)
    assert isinstance(refused, Unproven)
    assert "policies of the cluster" in refused.message
    assert isinstance(await desk.ask(rule, presented, policy_namespace=""), Proven)


async def test_nothing_of_a_proof_gets_out(desk: Desk, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither into a finding, whatever is wrong, nor into what is logged; it is masked for as long as it is held."""
    caplog.set_level(logging.DEBUG)
    rule = Proof(
        methods=(ProofMethod.JWT, ProofMethod.HMAC),
        issuer=issuer.url,
        audience="jobwarden",
        jwks_url=issuer.keys_url,
        secret=Credential(OWN),
    )
    canary = "canary-claim"
    texts = [
        issuer.token(canary=canary, aud="x"),
        issuer.token(sub=canary, iss=canary),
        issuer.token(jti=canary),
        proofs.token(proofs.claims(datetime.now(UTC), sub=canary), SECRET.encode(), "HS512"),
        "canary-claim.is.no-token",
    ]
    for text in texts:
        verdict = await desk.ask(rule, desk.file(text))
        shown = repr(verdict) + caplog.text
        assert text not in shown
        assert SECRET not in shown
        assert canary not in (verdict.message if isinstance(verdict, Unproven | Away) else str(verdict.once))
    issuer.delay = 0.3
    text, before = issuer.token(), issuer.asked[KEYS]
    asking = asyncio.create_task(desk.ask(rule, desk.file(text)))
    while issuer.asked[KEYS] == before:
        await asyncio.sleep(0.01)
    assert text not in SECRETS.mask(f"an error says {text}")
    await asking
    assert text in SECRETS.mask(f"an error says {text}")
