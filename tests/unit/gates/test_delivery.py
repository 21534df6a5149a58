"""Gate 2: a run that takes what its policy does not deliver is refused before anything is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from controller.domain.governors import Governed
from controller.domain.job import JobSpec
from controller.domain.reasons import Reason
from controller.domain.trust import CredentialPolicy, Decision, Delivery, Ref
from controller.gates import delivery
from controller.gates.facts import Granted, Refused
from controller.gates.pipeline import decide
from tests import builders
from tests.harness.manifests import bare
from tests.unit.gates import world

NAMES = st.sets(st.sampled_from(["a", "b", "c", "d"]))


def spec(*wanted: str) -> JobSpec:
    """A job whose variables take these credentials, and one that takes none."""
    env = [{"name": f"V{index}", "valueFrom": {"credentialRef": {"name": one}}} for index, one in enumerate(wanted)]
    env.append({"name": "PLAIN", "value": "x"})
    return builders.spec_of(builders.job("job", script="true", env=env, credentialPolicyRef={"name": "policy"}))


def policy(*names: str) -> CredentialPolicy:
    """Delivers these, nowhere by itself."""
    return CredentialPolicy(deliver=tuple(Delivery(one, Ref("p", "CredentialProvider")) for one in names))


@given(wanted=NAMES, delivered=NAMES)
def test_it_refuses_exactly_what_is_not_delivered(wanted: set[str], delivered: set[str]) -> None:
    """A job that takes nothing by name passes in silence; a refusal names what is missing and what there is."""
    said = delivery.possible(policy(*delivered), spec(*sorted(wanted)))
    if not wanted:
        assert said is None
    elif wanted <= delivered:
        assert said is not None
        assert (said.decision, said.reason) == (Decision.Permit, Reason.CredentialDelivered)
    else:
        assert said is not None
        assert (said.decision, said.reason) == (Decision.Deny, Reason.CredentialNotDelivered)
        assert all(one in said.message for one in (wanted - delivered) | delivered)


def test_the_refusal_comes_before_anybody_is_asked() -> None:
    """It is the second gate: whoever decides later never sees such a run."""
    answer = decide(world.facts(Governed(credentials=policy("token")), spec=spec("tokn")))
    assert isinstance(answer, Refused)
    assert answer.reason == Reason.CredentialNotDelivered
    assert [one.gate for one in answer.grant.outcomes] == ["Identity", "Delivery"]


def test_a_job_that_takes_what_is_there_passes() -> None:
    """And its grant says so."""
    answer = decide(world.facts(Governed(credentials=policy("token")), spec=spec("token")))
    assert isinstance(answer, Granted)
    assert [one.reason for one in answer.grant.outcomes] == [
        Reason.NoIdentity,
        Reason.CredentialDelivered,
        Reason.CredentialsAllowed,
    ]


def test_a_watchdog_over_a_job_is_given_nothing() -> None:
    """It starts nothing that could take it; one with a check starts a script. Case S025."""
    watching = {"job": {"job": "other", "maxDuration": "1h"}, "check": {"check": {"script": "true"}}}
    specs = {name: builders.spec_of(bare(name, watchdog=target)) for name, target in watching.items()}
    said = delivery.possible(policy("a"), specs["job"])
    assert said is not None
    assert (said.decision, said.reason) == (Decision.Deny, Reason.CredentialRefused)
    assert delivery.possible(policy(), specs["job"]) is None
    assert delivery.possible(policy("a"), specs["check"]) is None
