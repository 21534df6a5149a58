"""What a statement says, and what it never says."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base import canonical
from controller.domain.records import Approval, Decision, Output
from controller.domain.states import ApprovalState, RunState
from controller.domain.trust import Detail, Grant
from controller.evidence import statement
from controller.evidence.statement import Facts, Place
from tests.evidence import AT, ended, grant

PLACE = Place("default", "nightly", 7, "ab" * 32)


def said(facts: Facts, place: Place = PLACE) -> Any:
    return json.loads(statement.of_run(facts, place))


def test_a_statement_is_an_in_toto_statement_about_the_run() -> None:
    """Type, predicate type, and a subject that can be worked out again from the statement."""
    made = said(Facts(ended(), AT))
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert made["predicateType"] == "https://jobwarden.dev/attestation/run/v1"
    run, stdout = made["subject"]
    assert run["name"] == "default/nightly-1"
    assert run["digest"]["sha256"] == hashlib.sha256(canonical.dumps(made["predicate"]["run"])).hexdigest()
    assert stdout == {"name": "default/nightly-1/stdout", "digest": {"sha256": hashlib.sha256(b"hello\n").hexdigest()}}
    assert made["predicate"]["chain"] == {
        "namespace": "default",
        "job": "nightly",
        "sequence": 7,
        "previous": {"sha256": "ab" * 32},
    }


def test_a_tail_is_no_subject() -> None:
    """Of what is not kept whole nobody has a file whose digest this would be."""
    made = said(Facts(ended(output=Output(b"tail", b"", 99999, truncated=True)), AT))
    assert [one["name"] for one in made["subject"]] == ["default/nightly-1"]


def test_the_summary_leaves_out_what_full_has() -> None:
    """Both say who, what was decided and how it ended; messages, facts, scopes and single digests are for Full."""
    summary = said(Facts(ended(grant=grant(Detail.Summary), message="m"), AT))["predicate"]
    full = said(Facts(ended(grant=grant(Detail.Full), message="m"), AT))["predicate"]
    assert summary["identity"] == {
        "kind": "Agent",
        "principal": "agent:nightly",
        "level": "Supervised",
        "delegation": "None",
    }
    assert full["identity"]["scopes"] == ["read"]
    assert summary["decisions"] == [{"gate": "Trust", "decision": "Permit", "reason": "TrustSufficient"}]
    assert full["decisions"][0]["facts"] == {"level": "Supervised"}
    assert "governors" not in summary["spec"]
    assert full["spec"]["governors"] == {"TrustContract default/nightly": "v1:sha256:c1"}
    assert "message" not in summary["result"]
    assert full["inputs"]["digest"] == summary["inputs"]["digest"]
    assert full["inputs"]["names"]["day"] == {"sha256": hashlib.sha256(b"monday").hexdigest()}


@pytest.mark.parametrize("level", [Detail.Summary, Detail.Full])
def test_no_value_of_a_parameter_or_an_output_is_in_a_statement(level: Detail) -> None:
    """Digests only, whatever the level; and nothing that it printed."""
    run = ended(
        grant=grant(level),
        parameters={"token": "canary-in"},
        outputs={"secret": "canary-out"},
        output=Output(b"canary-stdout", b"canary-stderr", 26),
    )
    assert b"canary" not in statement.of_run(Facts(run, AT), PLACE)


def test_who_approved_is_said() -> None:
    """The decisions of the approval that let it run."""
    approval = Approval(
        name="a",
        namespace="default",
        job="nightly",
        job_id=1,
        dispatch="d",
        gate="Authorization",
        state=ApprovalState.Approved,
        digest="v1:sha256:d1",
        created_at=AT,
        expires_at=AT,
        scheduled_for=AT,
        decisions=(Decision("ann", approved=True, at=AT, reason="fine"),),
    )
    made = said(Facts(ended(), AT, approval=approval))["predicate"]["approval"]
    assert made["decisions"] == [{"by": "ann", "approved": True, "at": "2026-01-05T12:00:00Z"}]


def test_a_run_that_was_denied_has_a_statement_without_an_end() -> None:
    """It never started, so it has no times of that."""
    run = ended(state=RunState.Denied, reason="TrustTooLow", started_at=None, finished_at=None, exit_code=None)
    made = said(Facts(run, AT))["predicate"]
    assert made["result"] == {"state": "Denied", "reason": "TrustTooLow"}
    assert set(made["times"]) == {"created", "recorded"}


def test_only_runs_whose_contract_asks_for_it_are_wanted() -> None:
    """No grant, or the level None: nothing is written."""
    assert statement.wanted(ended())
    assert not statement.wanted(ended(grant=None))
    assert not statement.wanted(ended(grant=Grant("d")))


@given(
    st.dictionaries(st.text(), st.text()),
    st.dictionaries(st.text(), st.text()),
    st.binary(),
    st.text() | st.none(),
    st.sampled_from([Detail.Summary, Detail.Full]),
)
def test_whatever_a_run_has_becomes_canonical_json(
    parameters: dict[str, str], outputs: dict[str, str], printed: bytes, message: str | None, level: Detail
) -> None:
    """Any text and any bytes; the same facts give the same bytes."""
    run = ended(
        parameters=parameters,
        outputs=outputs,
        output=Output(printed, b"", len(printed)),
        message=message,
        grant=grant(level),
    )
    made = statement.of_run(Facts(run, AT), PLACE)
    assert canonical.dumps(json.loads(made)) == made
    assert statement.of_run(Facts(run, AT), PLACE) == made
