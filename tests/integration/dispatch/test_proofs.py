"""Proofs with an id in the transaction that opens a run: good for one use, for all attempts at it, and whoever is faster."""

from datetime import timedelta

import pytest

from controller.base.references import FileRef, SecretSource
from controller.dispatch import requests
from controller.dispatch.knowledge import Knowledge
from controller.domain.job import RetryPolicy
from controller.domain.proofs import Proven
from controller.domain.reasons import Reason
from controller.domain.records import Dispatch
from controller.domain.states import RunState
from controller.domain.trust import JobTrust, ProofMethod, Ref
from controller.gates.enquiries import Finding, ProofEnquiry, ProofFinding
from controller.gates.facts import Spend
from controller.store import proofs, retention
from controller.store.store import Store
from tests.integration.dispatch.world import World
from tests.integration.store.test_governors import declare

PLACE = SecretSource(file_ref=FileRef("/run/proof"))
POLICY = {
    "rules": [{"name": "proved", "if": "proof.verified", "decision": "Permit"}],
    "proof": {"required": True, "methods": ["APIKey"], "secretFrom": {"providerRef": {"name": "key"}}},
}


class Looked(World):
    """Every proof that is asked about holds, under one id."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._found: dict[str, dict[str, Finding]] = {}
        self.knowledge = Knowledge(found=lambda dispatch: self._found.get(dispatch, {}))
        declare(self, "CredentialProvider", "key", {"env": {"keys": {"key": "KEY"}}})
        declare(self, "AuthorizationPolicy", "proved", POLICY)

    def gated(self, name: str, **spec: object) -> None:
        """A job under the policy."""
        self.add(name, trust=JobTrust(authorization_ref=Ref("proved", "AuthorizationPolicy")), **spec)

    def ask(self, name: str) -> Dispatch:
        """Somebody asks for a run."""
        dispatch: Dispatch = self.write(
            lambda tx: requests.trigger(tx, self.now, "default", name, {}, None, "ann", new_id=self.new_id, proof=PLACE)
        )
        return dispatch

    def look(self) -> list[str]:
        """The jobs that open once everything that the gates ask was looked at."""
        for asked in self.turn().asked:
            assert isinstance(asked.enquiry, ProofEnquiry)
            until = self.now + timedelta(hours=1)
            finding = ProofFinding(Proven(method=ProofMethod.APIKey, holds_until=until, once="v1:id"))
            self._found.setdefault(asked.dispatch, {})[asked.enquiry.key] = finding
        self.wait(timedelta(minutes=2))
        return [one.run.job for one in self.turn().opened]


@pytest.fixture
def world(world: World) -> Looked:
    """On each database."""
    return Looked(world.store)


def test_two_requests_with_one_proof_lead_to_one_run(world: Looked) -> None:
    """Also when they are judged in the same moment."""
    world.gated("a")
    world.gated("b")
    first, second = world.ask("a"), world.ask("b")
    assert first.presented is not None
    assert first.presented.source == PLACE
    assert world.look() == ["a"]
    [denied] = [run for run in world.runs() if run.state is RunState.Denied]
    assert (denied.dispatch, denied.reason) == (second.id, Reason.ProofReplayed)


def test_another_attempt_shows_the_same_proof(world: Looked) -> None:
    """What it is of goes with it: from the dispatch to the grant, and from there to the next dispatch."""
    world.gated("a", retry=RetryPolicy(limit=1))
    first = world.ask("a")
    assert world.look() == ["a"]
    [run] = world.runs()
    assert run.grant is not None
    assert run.grant.presented == first.presented
    world.end(run, 1)
    again = next(one for one in world.dispatches() if one.retry_of == run.name)
    assert again.presented == first.presented
    world.wait(timedelta(minutes=10))
    assert world.look() == ["a"]


def test_whoever_is_faster_has_the_proof(world: Looked) -> None:
    """A spend that somebody else has made is seen by the statement itself, whatever was read before."""
    until = world.now + timedelta(hours=1)
    mine, other = Spend("v1:x", "d1", until), Spend("v1:x", "d2", until)
    assert world.write(lambda tx: proofs.spend(tx, [mine]))
    assert world.write(lambda tx: proofs.spend(tx, [mine, Spend("v1:y", "d1", until)]))
    assert not world.write(lambda tx: proofs.spend(tx, [other]))
    assert world.read(lambda tx: proofs.uses(tx, ["v1:x", "v1:y", "v1:z"])) == {"v1:x": "d1", "v1:y": "d1"}


def test_a_proof_is_forgotten_once_it_is_none_any_more(world: Looked) -> None:
    """And not while a clock somewhere might still take it for one."""
    world.write(lambda tx: proofs.spend(tx, [Spend("v1:x", "d1", world.now)]))
    for later, known in ((timedelta(minutes=59), True), (timedelta(minutes=61), False)):
        world.write(lambda tx, at=world.now + later: retention.prune_rest(tx, at))
        assert bool(world.read(lambda tx: proofs.uses(tx, ["v1:x"]))) is known
