"""What a run is given reaches its request: variables, files, what variables take by name, and the refusals of all that cannot be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.base.references import Allowed
from controller.dispatch.launch import Launcher
from controller.domain.job import JobSpec
from controller.domain.records import Cause, Run
from controller.domain.states import RunState
from controller.executors.credentials import Given, Token
from controller.executors.protocol import ExecutionRequest
from tests import builders

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(
    name="run-1",
    job_id=1,
    job_uid="u",
    namespace="default",
    job="job",
    dispatch="d",
    cause=Cause.Schedule,
    state=RunState.Running,
    scheduled_for=NOW,
    created_at=NOW,
    root="run-1",
)
TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
VALUE = b"s3cr3t-value"


def spec(*variables: dict[str, Any], **fields: Any) -> JobSpec:
    """A job with these variables."""
    policy = {"name": "policy"}
    return builders.spec_of(
        builders.job("job", script="true", env=list(variables), credentialPolicyRef=policy, **fields)
    )


def taking(name: str, credential: str) -> dict[str, Any]:
    """A variable that takes a credential."""
    return {"name": name, "valueFrom": {"credentialRef": {"name": credential}}}


def prepare(folder: Path, job: JobSpec, *given: Given) -> ExecutionRequest | str:
    """What becomes of it."""
    made = Launcher({"HOME": "/home/u"}, allowed=Allowed(), log_dir=folder, output_dir=folder)
    return made.prepare(RUN, job, given)


def test_a_variable_takes_the_credential_of_that_name(tmp_path: Path) -> None:
    """As often as it is named, beside the place that the policy gives it; it is masked."""
    job = spec(taking("A", "token"), taking("B", "token"), {"name": "C", "value": "plain"})
    request = prepare(tmp_path, job, Given("token", VALUE, env="TOKEN"), Given("unused", b"other-value"))
    assert isinstance(request, ExecutionRequest)
    given = {name: request.env[name] for name in ("A", "B", "C", "TOKEN")}
    assert given == {"A": "s3cr3t-value", "B": "s3cr3t-value", "C": "plain", "TOKEN": "s3cr3t-value"}
    assert "other-value" not in request.env.values()
    assert request.needles is not None
    assert request.needles.mask(b"x s3cr3t-value other-value") == b"x *** ***"


def test_in_a_pod_it_is_a_secret(tmp_path: Path) -> None:
    """It goes where nobody else can read it, and is among the values that anybody sees under no name."""
    request = prepare(tmp_path, spec(taking("A", "token"), executor="Kubernetes"), Given("token", VALUE))
    assert isinstance(request, ExecutionRequest)
    assert request.pod is not None
    assert request.pod.secrets == {"A": "s3cr3t-value"}
    assert "s3cr3t-value" not in request.pod.values.values()


def test_in_a_pod_files_are_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Nothing is written on this host; a token of its node has a place beside them, and nobody here has its value."""
    made = Launcher({"HOME": "/home/u"}, allowed=Allowed(), log_dir=tmp_path, output_dir=tmp_path)
    token = Token("t", "api/token", "deployer", "payments", timedelta(hours=1))
    for job in (spec(executor="Kubernetes"), builders.spec_of(builders.bare("job", pod={"template": TEMPLATE}))):
        request = made.prepare(RUN, job, (Given("key", VALUE, file="deep/key"),), (token,))
        assert isinstance(request, ExecutionRequest)
        assert request.pod is not None
        assert request.files == {}
        assert (request.pod.files, request.pod.tokens) == ({"deep/key": VALUE}, (token,))
        assert request.pod.values["CREDENTIALS_DIRECTORY"].startswith("/var/run/secrets/")
        assert request.needles is not None
    refused = made.prepare(RUN, job, (Given("key", VALUE, file="api"),), (token,))
    assert (
        refused
        == "the credential 't' cannot be delivered: the file 'api/token' is in the way of 'api': choose another path"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "variable A of spec.env takes the credential 'token', which nobody delivers"),
        ((Given("other", VALUE),), "variable A of spec.env takes the credential 'token', which nobody delivers"),
        (
            (Given("token", VALUE, env="A"),),
            "the credential 'token' cannot be delivered: another one is delivered as the variable A",
        ),
        ((Given("token", b"a\0b"),), "its value holds a NUL byte, which no variable can: deliver it as a file"),
    ],
)
def test_what_cannot_be_taken_refuses_the_run_in_words(tmp_path: Path, given: tuple[Given, ...], words: str) -> None:
    """Whatever the gates have said: it never starts without."""
    refused = prepare(tmp_path, spec(taking("A", "token")), *given)
    assert isinstance(refused, str)
    assert words in refused
    assert "s3cr3t" not in refused
