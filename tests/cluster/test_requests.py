"""RunRequests: `kubectl create -f request.yaml` becomes one run, whose end stands in the request; who asks cannot lie about it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import condition, hourly, verified, watch
from tests.harness import Postgres, Warden
from tests.harness.controlplane import ControlPlane
from tests.harness.manifests import Document, document, job


def request(name: str, job: str, by: str | None = "admin", **spec: Any) -> Document:
    """A RunRequest; `by` None leaves out who asks."""
    who = {} if by is None else {"requestedBy": by}
    return document("RunRequest", name, {"jobRef": {"name": job}, **who, **spec})


def create(api: ControlPlane, namespace: str, *requests: Document, as_user: str = "admin") -> str:
    """Make requests; what the API server says against it, empty when it is accepted."""
    for one in requests:
        made = api.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(one), as_user=as_user)
        if made.code != 0:
            return made.err
    return ""


def finished(api: ControlPlane, namespace: str, name: str) -> Document:
    """The condition Finished once it holds; empty before."""
    told = condition(api.get("rreq", name, namespace), "Finished")
    return told if told.get("status") == "True" else {}


@pytest.fixture
def warden(cluster_warden: Warden, namespace: str) -> Warden:
    """A controller that watches the namespace of the test."""
    return cluster_warden.start(*watch(namespace))


@pytest.fixture
def ready(api: ControlPlane, namespace: str, warden: Warden) -> Callable[..., None]:
    """Applies jobs and waits until they are accepted."""

    def apply(*jobs: Document) -> None:
        api.apply(*jobs, namespace=namespace).ok()
        names = [f"sjob/{one['metadata']['name']}" for one in jobs]
        api.kubectl("wait", *names, "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()

    return apply


def test_a_request_becomes_one_run_and_tells_its_end(
    api: ControlPlane, namespace: str, warden: Warden, ready: Callable[..., None]
) -> None:
    """Parameters, the instant that it makes up for, who asked and why; `kubectl wait` on the end."""
    verified(api)
    script = 'echo "$JOBWARDEN_PARAM_WHERE $JOBWARDEN_SCHEDULED_FOR" > $HOME/out'
    ready(job("deploy", script, parameters=[{"name": "where", "required": True}]))
    asked = request(
        "now", "deploy", parameters={"where": "here"}, scheduledFor="2026-01-02T03:04:05Z", reason="because"
    )
    assert create(api, namespace, asked) == ""
    api.kubectl("wait", "rreq/now", "--for=condition=Finished", "-n", namespace, "--timeout=55s").ok()
    told = api.get("rreq", "now", namespace)
    assert condition(told, "Accepted")["status"] == "True"
    assert condition(told, "Finished")["reason"] == "Succeeded"
    assert told["status"]["observedGeneration"] == told["metadata"]["generation"] == 1
    (run,) = warden.items("runs", "-n", namespace)
    assert run["metadata"]["name"] == told["status"]["runName"]
    assert run["spec"]["requestedBy"] == "admin"
    assert (warden.folder / "home/out").read_text() == "here 2026-01-02T03:04:05+00:00\n"
    assert told["status"]["runName"] in api.kubectl("get", "rreq", "-n", namespace).ok().out


def test_a_failed_run_is_told_after_its_last_attempt(
    api: ControlPlane, namespace: str, warden: Warden, ready: Callable[..., None]
) -> None:
    """A retry is not the end; the last attempt is."""
    ready(hourly("fails", "exit 3", retry={"limit": 1, "backoff": {"initial": "1s"}}))
    assert create(api, namespace, request("now", "fails")) == ""
    told = warden.wait_for(lambda: finished(api, namespace, "now"), "the end to be told")
    assert told["reason"] == "Failed"
    assert "exit code 3" in told["message"]
    attempts = {one["metadata"]["name"]: one["spec"]["attempt"] for one in warden.items("runs", "-n", namespace)}
    assert attempts[api.get("rreq", "now", namespace)["status"]["runName"]] == max(attempts.values()) == 2


REFUSALS: dict[str, tuple[Document, str, str]] = {
    "no such job": (request("r", "nowhere"), "JobNotFound", "kubectl get sjob"),
    "a parameter missing": (request("r", "picky"), "ParameterMissing", "spec.parameters.size"),
    "a parameter unknown": (request("r", "picky", parameters={"size": "1", "colour": "red"}), "ParameterUnknown", "colour"),
    "a parameter invalid": (request("r", "picky", parameters={"size": "big"}), "ParameterInvalid", "[0-9]"),
    "a key with a space": (request("r", "picky", parameters={"size": "1"}, idempotencyKey="a b"), "InvalidValue", "no spaces"),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_met_is_refused_with_what_to_do(
    api: ControlPlane,
    namespace: str,
    warden: Warden,
    ready: Callable[..., None],
    refusal: tuple[Document, str, str],
) -> None:
    """Accepted is False with the reason, for good: a job that comes later does not make it run."""
    asked, reason, words = refusal
    ready(job("picky", parameters=[{"name": "size", "required": True, "pattern": "[0-9]+"}]))
    assert create(api, namespace, asked) == ""
    warden.wait_for(lambda: finished(api, namespace, "r"), "the refusal")
    accepted = condition(api.get("rreq", "r", namespace), "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert words in accepted["message"]
    assert "create the request again" in accepted["message"]
    ready(hourly("nowhere"))
    assert create(api, namespace, request("marker", "nowhere")) == ""
    warden.wait_for(lambda: finished(api, namespace, "marker"), "the next one to run")
    assert len(warden.items("runs", "-n", namespace)) == 1


def test_a_request_that_comes_with_its_job_waits_for_it(api: ControlPlane, namespace: str, warden: Warden) -> None:
    """One `kubectl apply` of both, the request first."""
    assert create(api, namespace, request("now", "late")) == ""
    api.apply(hourly("late"), namespace=namespace).ok()
    assert warden.wait_for(lambda: finished(api, namespace, "now"), "the end")["reason"] == "Succeeded"


def test_two_requests_with_one_key_are_one_run(
    api: ControlPlane, namespace: str, warden: Warden, ready: Callable[..., None]
) -> None:
    """The second one names the run of the first."""
    ready(hourly("deploy"))
    assert create(api, namespace, request("one", "deploy", idempotencyKey="build-7")) == ""
    warden.wait_for(lambda: finished(api, namespace, "one"), "the first one")
    assert create(api, namespace, request("two", "deploy", idempotencyKey="build-7")) == ""
    told = warden.wait_for(lambda: finished(api, namespace, "two"), "the second one")
    assert told["reason"] == "Skipped"
    one, two = (api.get("rreq", name, namespace)["status"]["runName"] for name in ("one", "two"))
    assert one == two
    assert len(warden.items("runs", "-n", namespace)) == 1


def test_jobs_from_elsewhere_cannot_be_asked_for_with_objects(
    api: ControlPlane, namespace: str, warden: Warden
) -> None:
    """Rights in a namespace of the cluster say nothing of jobs in files."""
    warden.write("local", hourly("local", metadata={"namespace": namespace}))
    warden.wait_for(lambda: warden.items("jobs", "-n", namespace), "the file to be applied")
    assert create(api, namespace, request("r", "local")) == ""
    warden.wait_for(lambda: finished(api, namespace, "r"), "the refusal")
    assert condition(api.get("rreq", "r", namespace), "Accepted")["reason"] == "JobNotFound"
    assert warden.items("runs", "-n", namespace) == []


def test_a_request_goes_when_its_time_is_over(
    api: ControlPlane, namespace: str, warden: Warden, ready: Callable[..., None]
) -> None:
    """`ttlAfterFinished`: the object goes, the run stays, and the other request stays too."""
    ready(hourly("deploy", concurrency={"policy": "Allow"}))
    assert create(api, namespace, request("stays", "deploy"), request("goes", "deploy", ttlAfterFinished="1s")) == ""
    warden.wait_for(lambda: api.get("rreq", "goes", namespace) is None, "the request to go")
    assert warden.wait_for(lambda: finished(api, namespace, "stays"), "the other one to end")
    assert len(warden.items("runs", "-n", namespace)) == 2


@pytest.mark.slow
def test_a_killed_controller_makes_exactly_one_run_of_a_request(
    api: ControlPlane, namespace: str, warden: Warden, ready: Callable[..., None]
) -> None:
    """kill -9 at once after the request, again and again: one run each; a restart adds none."""
    ready(hourly("deploy", "echo $JOBWARDEN_RUN_ID >> $HOME/ran", concurrency={"policy": "Allow"}))
    names = [f"r{number}" for number in range(6)]

    def dispatched() -> int:
        return len(warden.items("queue", "--all", "-n", namespace))

    for number, name in enumerate(names):
        if warden.process is None:
            warden.start(*watch(namespace))
        assert create(api, namespace, request(name, "deploy")) == ""
        if number % 2:
            warden.wait_for(lambda count=number: dispatched() > count, "it to be obeyed")
        warden.kill9()
    for _ in range(2):
        warden.start(*watch(namespace))
        warden.wait_for(lambda: all(finished(api, namespace, name) for name in names), "all of them to end")
        assert warden.stop() == 0
    told = [api.get("rreq", name, namespace)["status"]["runName"] for name in names]
    assert len(set(told)) == len(names)
    assert sorted(one["metadata"]["name"] for one in warden.items("runs", "-n", namespace)) == sorted(told)


def test_a_database_that_was_lost_repeats_nothing(
    api: ControlPlane, namespace: str, warden: Warden, ready: Callable[..., None], make_warden: Callable[..., Warden]
) -> None:
    """What a status says was accepted is not done a second time."""
    ready(hourly("long", "sleep 600"))
    assert create(api, namespace, request("before", "long")) == ""
    warden.wait_for(lambda: api.get("rreq", "before", namespace).get("status", {}).get("runName"), "it to be told")
    warden.kill9()
    other = make_warden(environment=api.environment("controller")).start(*watch(namespace))
    told = other.wait_for(lambda: finished(api, namespace, "before"), "it to be told")
    assert told["reason"] == "Forgotten"
    assert other.items("runs", "-n", namespace) == []


@pytest.mark.slow
def test_requests_of_an_outage_are_obeyed_after_it(plane: ControlPlane, make_warden: Callable[..., Warden]) -> None:
    """The API server goes away under the watch, and comes back with a request and without another one."""
    warden = make_warden(environment=plane.environment("controller")).start(*watch("default"))
    plane.apply(hourly("deploy")).ok()
    plane.kubectl("wait", "sjob/deploy", "--for=condition=Ready", "--timeout=55s").ok()
    assert create(plane, "default", request("before", "deploy")) == ""
    warden.wait_for(lambda: finished(plane, "default", "before"), "the first one to end")
    assert warden.process is not None
    warden.process.send_signal(19)  # SIGSTOP: nobody reads the watch
    assert create(plane, "default", request("during", "deploy")) == ""
    plane.kubectl("delete", "rreq", "before").ok()
    plane.stop_api()
    plane.start_api()
    warden.process.send_signal(18)
    told = warden.wait_for(lambda: finished(plane, "default", "during"), "the second one to end", deadline=120)
    assert told["reason"] == "Succeeded"
    assert len(warden.runs("deploy")) == 2


def test_two_replicas_obey_a_request_once(
    api: ControlPlane, namespace: str, make_warden: Callable[..., Warden], postgres: Postgres
) -> None:
    """Each of many requests is one run, with two controllers on one database; also when the one that obeys is killed."""
    with postgres.database() as url:
        one, two = (make_warden(database=url, environment=api.environment("controller")) for _ in range(2))
        one.start(*watch(namespace))
        two.start(*watch(namespace))
        api.apply(hourly("deploy", concurrency={"policy": "Allow"}), namespace=namespace).ok()
        api.kubectl("wait", "sjob/deploy", "--for=condition=Ready", "-n", namespace, "--timeout=55s").ok()
        names = [f"r{number}" for number in range(6)]
        assert create(api, namespace, *(request(name, "deploy") for name in names[:3])) == ""
        one.wait_for(lambda: all(finished(api, namespace, name) for name in names[:3]), "three to end")
        assert create(api, namespace, *(request(name, "deploy") for name in names[3:])) == ""
        one.kill9()
        two.wait_for(lambda: all(finished(api, namespace, name) for name in names), "all to end", deadline=120)
        told = {api.get("rreq", name, namespace)["status"]["runName"] for name in names}
        assert len(told) == len(names)
        assert {run["metadata"]["name"] for run in two.items("runs", "-n", namespace)} == told


# What admission refuses


@pytest.mark.parametrize("person", ["arn:aws:sts::1:assumed-role/Dev/jane", "https://issuer.example#42", "Jane Doe"])
def test_people_have_the_names_that_the_api_server_knows(api: ControlPlane, namespace: str, person: str) -> None:
    """Not only those that a Unix user may have."""
    text = json.dumps(request("r", "deploy", by=person))
    made = api.kubectl("create", "-n", namespace, "-f", "-", "--as", person, "--as-group", "system:masters", stdin=text)
    assert made.ok().code == 0


def asker(name: str) -> list[Document]:
    """Rights of one person: to make and change RunRequests, and even their status."""
    api, role = "rbac.authorization.k8s.io", f"asks-{name}"
    rules = [
        {
            "apiGroups": ["jobwarden.dev"],
            "resources": ["runrequests", "runrequests/status"],
            "verbs": ["get", "create", "patch", "update"],
        }
    ]
    return [
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": {"name": role}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": role},
            "subjects": [{"apiGroup": api, "kind": "User", "name": name}],
        },
    ]


def test_nobody_asks_in_the_name_of_somebody_else(api: ControlPlane, namespace: str) -> None:
    """Neither another name nor none; one's own is accepted."""
    api.apply(*asker("bob"), namespace=namespace).ok()
    words = "spec.requestedBy must be who asks: set it to your own user name, bob"
    assert words in create(api, namespace, request("r", "deploy", by="alice"), as_user="bob")
    assert words in create(api, namespace, request("r", "deploy", by=None), as_user="bob")
    assert create(api, namespace, request("r", "deploy", by="bob"), as_user="bob") == ""


def test_a_request_is_not_changed_and_its_status_is_not_forged(api: ControlPlane, namespace: str) -> None:
    """The spec stays what it was, and RBAC's right to the status is not enough."""
    api.apply(*asker("bob"), namespace=namespace).ok()
    assert create(api, namespace, request("r", "deploy", by="bob"), as_user="bob") == ""
    patch = ("patch", "rreq/r", "-n", namespace, "--type=merge", "-p")
    changed = api.kubectl(*patch, '{"spec": {"jobRef": {"name": "other"}}}', as_user="bob")
    assert "it cannot be changed once it is made" in changed.err
    forged = api.kubectl(*patch, '{"status": {"runName": "x"}}', "--subresource=status", as_user="bob")
    assert "ValidatingAdmissionPolicy 'runrequests.jobwarden.dev'" in forged.err
    assert "only the controller writes the status of a RunRequest" in forged.err
