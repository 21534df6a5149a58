"""Runs as Pods, against real Jobs: what is made, how every end is told, what a restart does to them. The tests play the kubelet."""

import base64
import json
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import RIGHTS, watch
from tests.harness import Postgres, Warden, wait_for
from tests.harness.apiproxy import ApiProxy
from tests.harness.controlplane import tools
from tests.harness.manifests import Document, bare, document, job
from tests.harness.simulated import Simulated
from tests.harness.warden import ROOT


@pytest.fixture(scope="session")
def machines() -> Iterator[Simulated]:
    """A cluster whose kubelet the tests play, shared by all workers."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    programs = tools("all")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    with Simulated(Path(tempfile.gettempdir()) / f"jw-sim-{run[:12]}", programs, *RIGHTS).shared() as cluster:
        yield cluster


class Story:
    """One controller on one namespace whose runs are Pods."""

    def __init__(self, warden: Warden, cluster: Simulated, namespace: str) -> None:
        self.warden, self.cluster, self.namespace = warden, cluster, namespace

    def start(self, *more: str) -> None:
        """Start the controller, again if need be."""
        self.warden.start(*watch(self.namespace, executor="Kubernetes"), "--job-image", "busybox:1.37", *more)

    def declare(self, name: str = "one", **spec: Any) -> None:
        """Apply a job that runs on request, and wait until it may."""
        target = {} if {"exec", "pod"} & spec.keys() else {"shell": {"script": "echo hello"}}
        self.cluster.apply(bare(name, **(target | spec)), namespace=self.namespace).ok()
        ready = ("--for=condition=Ready", "--timeout=55s")
        self.cluster.kubectl("wait", f"sjob/{name}", "-n", self.namespace, *ready).ok()

    def run(self, name: str = "one", *arguments: str) -> str:
        """Ask for a run; its name once it is open."""
        before = {one["metadata"]["name"] for one in self.warden.runs(name)}
        self.warden.trigger(name, *arguments).ok()

        def opened() -> str | None:
            new = [one["metadata"]["name"] for one in self.warden.runs(name) if one["metadata"]["name"] not in before]
            return new[-1] if new else None

        return self.warden.wait_for(opened, "the run to be opened")

    def pod(self, run: str) -> str:
        """The Pod of a run, once it is on the node."""
        return self.cluster.pod_of(run, self.namespace)

    def begin(self, run: str) -> str:
        """The container of a run begins; the name of its Pod."""
        pod = self.pod(run)
        self.cluster.begin(pod, self.namespace)
        return pod

    def finish(self, run: str, code: int = 0, **how: Any) -> None:
        """The container of a run begins and ends."""
        self.cluster.finish(self.begin(run), self.namespace, code, **how)

    def ended(self, run: str) -> Document:
        """The status of a run, once it has ended."""

        def found() -> Document | None:
            (one,) = [one for one in self.warden.runs() if one["metadata"]["name"] == run]
            return one["status"] if one["status"]["state"] != "Running" else None

        return self.warden.wait_for(found, f"{run} to end")

    def job_of(self, run: str) -> Any:
        """The Job object of a run."""
        return wait_for(lambda: self.cluster.get("job", run, self.namespace), "the Job to be made")

    def report(self, run: str, phase: str, state: Document, **more: Any) -> None:
        """What the kubelet says of the Pod of a run."""
        self.cluster.report(self.pod(run), self.namespace, phase, "run", state, **more)


@pytest.fixture
def make_story(make_warden: Callable[..., Warden], machines: Simulated) -> Iterator[Callable[..., Story]]:
    """Makes installations whose runs are Pods, each in a namespace of its own."""
    with machines.namespace() as namespace:

        def make(**more: Any) -> Story:
            environment = machines.environment("controller") | {"JOBWARDEN_NAMESPACE": namespace}
            return Story(make_warden(environment=environment | more), machines, namespace)

        yield make


@pytest.fixture
def story(make_story: Callable[..., Story]) -> Story:
    """An installation whose runs are Pods."""
    made = make_story()
    made.start()
    return made


def test_a_run_is_a_job_of_its_name_and_ends_as_its_container_does(story: Story) -> None:
    """Restricted, without a token, owned by the ScheduledJob, with a deadline of its own in case nobody is there to end it."""
    story.declare(timeout="1m", startTimeout="2m", history={"maxAge": "1h"})
    run = story.run()
    made = story.job_of(run)
    owner = story.cluster.get("sjob", "one", story.namespace)["metadata"]
    assert [(one["kind"], one["name"], one["uid"]) for one in made["metadata"]["ownerReferences"]] == [
        ("ScheduledJob", "one", owner["uid"])
    ]
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 190, 3600)
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
    (container,) = pod["containers"]
    assert container["image"] == "busybox:1.37"
    assert container["command"] == ["/bin/sh", "-c", "echo hello"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    story.finish(run)
    assert story.ended(run)["reason"] == "Completed"
    status = story.cluster.get("sjob", "one", story.namespace)["status"]
    assert status["target"] == "shell"


@pytest.mark.parametrize(
    ("how", "state", "reason", "code"),
    [
        ({"code": 7}, "Failed", "ExitCode", 7),
        ({"code": 137, "reason": "OOMKilled"}, "Failed", "OOMKilled", 137),
        ({"code": 128, "reason": "StartError", "message": "no such file: /bin/nothing"}, "Failed", "StartFailed", None),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_container_that_fails_is_told_precisely(
    story: Story, how: Document, state: str, reason: str, code: int | None
) -> None:
    """Exit code, out of memory, never started: each by its own reason, with the kubelet's words."""
    story.declare()
    run = story.run()
    story.finish(run, **how)
    status = story.ended(run)
    assert (status["state"], status["reason"], status.get("exitCode")) == (state, reason, code)
    assert how.get("message", "") in status.get("message", "")


def test_an_evicted_pod_is_an_interruption(story: Story) -> None:
    """Not the job's failure: `onInterruption` decides, and with Rerun it runs again."""
    story.declare(onInterruption="Rerun")
    run = story.run()
    story.begin(run)
    terminated = {"terminated": {"exitCode": 137, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}}
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
    story.report(run, "Failed", terminated, conditions=[disrupted])
    status = story.ended(run)
    assert (status["state"], status["reason"]) == ("Crashed", "Evicted")
    again = story.warden.wait_for(lambda: story.warden.runs(state="Running"), "the replay")[0]["metadata"]["name"]
    assert again != run
    story.finish(again)
    assert story.ended(again)["state"] == "Succeeded"


def test_a_pod_without_a_node_or_an_image_fails_in_time_and_says_which(story: Story) -> None:
    """`startTimeout`, with the words of the scheduler and of the kubelet; nothing is left behind."""
    story.declare("hungry", startTimeout="2s", resources={"requests": {"cpu": "5000"}})
    unschedulable = story.run("hungry")
    status = story.ended(unschedulable)
    assert (status["state"], status["reason"]) == ("Failed", "Unschedulable")
    assert "Insufficient cpu" in status["message"]
    story.declare("imageless", startTimeout="4s")
    run = story.run("imageless")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "back-off pulling image"}}
    story.report(run, "Pending", waiting)
    status = story.ended(run)
    assert (status["state"], status["reason"]) == ("Failed", "ImagePull")
    assert "back-off pulling image" in status["message"]
    for name in (unschedulable, run):
        wait_for(lambda name=name: story.cluster.get("job", name, story.namespace) is None, "the Job to go")


def test_a_timeout_and_a_cancellation_end_the_pod(story: Story) -> None:
    """The Job is deleted, the Pod gets its grace, and the run says why it ended."""
    story.declare("slow", timeout="2s", terminationGracePeriod="5s")
    late = story.run("slow")
    pod = story.begin(late)
    wait_for(lambda: story.cluster.get("job", late, story.namespace) is None, "the Job to be deleted")
    story.cluster.let_go(pod, story.namespace)
    assert story.ended(late)["state"] == "TimedOut"
    story.declare("endless")
    unwanted = story.run("endless")
    pod = story.begin(unwanted)
    story.warden.wait_for(
        lambda: story.cluster.get("sjob", "endless", story.namespace)["status"].get("activeRuns"), "the run to be told"
    )
    story.warden.cli("cancel", unwanted).ok()
    wait_for(lambda: story.cluster.get("job", unwanted, story.namespace) is None, "the Job to be deleted")
    story.cluster.let_go(pod, story.namespace)
    status = story.ended(unwanted)
    assert (status["state"], status["reason"]) == ("Cancelled", "CancelRequested")


def test_a_pod_that_only_has_the_labels_of_a_run_ends_nothing(story: Story) -> None:
    """Whoever may make Pods in a namespace may write any labels on them; the run is the Pod of its Job."""
    story.declare()
    run = story.run()
    pod = story.begin(run)
    labels = story.cluster.get("pod", pod, story.namespace)["metadata"]["labels"]
    ours = ("app.kubernetes.io/managed-by", "jobwarden.dev/run", "jobwarden.dev/job")
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "labels": {name: labels[name] for name in ours}},
        "spec": {"containers": [{"name": "run", "image": "i"}], "nodeName": "node-1"},
    }
    story.cluster.apply(forged, namespace=story.namespace).ok()
    story.cluster.finish("forged", story.namespace, message="rows=1")
    story.cluster.finish(pod, story.namespace, 3)
    status = story.ended(run)
    assert (status["state"], status.get("exitCode")) == ("Failed", 3)


def test_deleting_the_scheduled_job_takes_its_pods_with_it(story: Story) -> None:
    """`deletionPolicy: Cancel`, through the owner reference and through the engine."""
    story.declare()
    run = story.run()
    pod = story.begin(run)
    story.cluster.kubectl("delete", "sjob", "one", "-n", story.namespace).ok()
    wait_for(lambda: story.cluster.get("job", run, story.namespace) is None, "the Job to go")
    story.cluster.let_go(pod, story.namespace)
    assert story.ended(run)["state"] == "Cancelled"


@pytest.mark.parametrize("how", ["kill9", "stop"])
def test_a_run_outlives_its_controller_and_is_taken_up_again(story: Story, how: str) -> None:
    """One Pod from beginning to end, whether the controller was killed or stopped, and whatever happened meanwhile."""
    story.declare()
    goes_on, ends_meanwhile = story.run(), None
    story.declare("two")
    ends_meanwhile = story.run("two")
    pod, other = story.begin(goes_on), story.begin(ends_meanwhile)
    getattr(story.warden, how)()
    story.cluster.finish(other, story.namespace, 3)
    story.start()
    status = story.ended(ends_meanwhile)
    assert (status["state"], status.get("exitCode")) == ("Failed", 3)
    uid = story.cluster.get("pod", pod, story.namespace)["metadata"]["uid"]
    story.cluster.finish(pod, story.namespace)
    assert story.ended(goes_on)["state"] == "Succeeded"
    assert story.cluster.get("pod", pod, story.namespace)["metadata"]["uid"] == uid
    assert len(story.warden.runs("one")) == len(story.warden.runs("two")) == 1


def test_a_job_that_was_deleted_while_nobody_looked_is_an_interruption(story: Story) -> None:
    """Nobody can tell any more what became of it; `onInterruption` decides."""
    story.declare()
    run = story.run()
    pod = story.begin(run)
    story.warden.kill9()
    story.cluster.kubectl("delete", "job", run, "-n", story.namespace, "--wait=false").ok()
    story.cluster.let_go(pod, story.namespace)
    wait_for(lambda: story.cluster.get("job", run, story.namespace) is None, "the Job to go")
    story.start()
    status = story.ended(run)
    assert (status["state"], status["reason"]) == ("Crashed", "Interrupted")


@pytest.fixture
def proxy(machines: Simulated) -> Iterator[ApiProxy]:
    """Between a controller and the API server."""
    with ApiProxy(machines) as between:
        yield between


@pytest.mark.heavy
def test_a_job_that_comes_after_its_run_was_given_up_starts_nothing(
    make_story: Callable[..., Story], proxy: ApiProxy
) -> None:
    """A request was under way when its sender was killed; the next controller finds no Job, and `Rerun` has one Pod all the same."""
    story = make_story(**proxy.environment("controller"))
    story.start()
    story.declare(onInterruption="Rerun")
    making = proxy.hold("POST", f"/namespaces/{story.namespace}/jobs?")
    run = story.run()
    story.warden.wait_for(making.came.is_set, "its Job to be asked for")
    story.warden.kill9()
    story.start()
    status = story.ended(run)
    assert (status["state"], status["reason"]) == ("Crashed", "Interrupted")
    assert only_the_replay_runs(story, run, making.let_go())


@pytest.mark.heavy
def test_a_replica_that_was_frozen_while_it_made_a_job_makes_no_second_one(
    make_warden: Callable[..., Warden], machines: Simulated, proxy: ApiProxy, postgres: Postgres
) -> None:
    """Its lease runs out, another one takes its run over and replays it; then its request arrives, and it wakes up."""
    with machines.namespace() as namespace, postgres.database() as url:
        place = {"JOBWARDEN_NAMESPACE": namespace}
        frozen, other = (
            Story(make_warden(database=url, environment=one.environment("controller") | place), machines, namespace)
            for one in (proxy, machines)
        )
        frozen.start()
        frozen.declare(onInterruption="Rerun")
        making = proxy.hold("POST", f"/namespaces/{namespace}/jobs?")
        run = frozen.run()
        frozen.warden.wait_for(making.came.is_set, "its Job to be asked for")
        assert frozen.warden.process is not None
        frozen.warden.process.send_signal(signal.SIGSTOP)
        try:
            other.start()
            assert other.ended(run)["state"] == "Crashed"
            answer = making.let_go()
        finally:
            frozen.warden.process.send_signal(signal.SIGCONT)
        assert frozen.warden.wait_ended() != 0
        assert only_the_replay_runs(other, run, answer)
        other.warden.close()


def only_the_replay_runs(story: Story, run: str, answer: bytes) -> bool:
    """The late request is answered with a conflict; the run has the place of a Job and no Pod, its replay has one, and ends with it."""
    [replay] = story.warden.wait_for(lambda: story.warden.runs(state="Running"), "the replay")
    again = replay["metadata"]["name"]
    assert b" 409 " in answer.splitlines()[0]
    failed = ("--for=condition=Failed", "--timeout=55s", "-n", story.namespace)
    story.cluster.kubectl("wait", f"job/{run}", *failed).ok()
    story.finish(again)
    assert story.ended(again)["state"] == "Succeeded"
    pods = json.loads(story.cluster.kubectl("get", "pods", "-n", story.namespace, "-o", "json").ok().out)["items"]
    return [one["metadata"]["labels"]["jobwarden.dev/run"] for one in pods] == [again]


def test_what_the_controller_looks_up_goes_through_a_secret_that_ends_with_the_run(
    make_story: Callable[..., Story], tmp_path: Path
) -> None:
    """No value of it is in the Job, and the Job does not begin before its Secret is there."""
    canary = f"canary-{uuid.uuid4().hex}"
    story = make_story(DATABASE_PASSWORD=canary)
    config = tmp_path / "jobwarden.yaml"
    config.write_text(
        "apiVersion: jobwarden.dev/v1alpha1\nkind: ControllerConfiguration\nsettings: {allowEnv: [DATABASE_PASSWORD]}\n",
        encoding="utf-8",
    )
    story.start("--config", str(config))
    key = {"name": "config", "key": "level", "optional": True}
    story.declare(
        env=[
            {"name": "PASSWORD", "valueFrom": {"envRef": {"name": "DATABASE_PASSWORD"}}},
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": key}},
            {"name": "PRICE", "value": "$(PASSWORD) costs $5"},
        ],
        envFrom=[{"secretRef": {"name": "more", "optional": True}, "prefix": "X_"}],
    )
    run = story.run()
    story.begin(run)
    made = story.job_of(run)
    assert canary not in json.dumps(made)
    assert made["spec"]["suspend"] is False
    (container,) = made["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one for one in container["env"]}
    kept = variables["PASSWORD"]["valueFrom"]["secretKeyRef"]["name"]
    assert kept.startswith(f"{run}-")
    assert variables["LEVEL"]["valueFrom"]["configMapKeyRef"] == key
    assert variables["PRICE"]["value"] == "$$(PASSWORD) costs $$5"
    assert container["envFrom"] == [{"prefix": "X_", "secretRef": {"name": "more", "optional": True}}]
    secret = story.cluster.get("secret", kept, story.namespace)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    story.cluster.finish(story.pod(run), story.namespace)
    assert story.ended(run)["state"] == "Succeeded"
    wait_for(lambda: story.cluster.get("secret", kept, story.namespace) is None, "the Secret to go")


def test_what_a_policy_delivers_reaches_the_pod_by_a_secret_and_by_its_node(
    make_story: Callable[..., Story], tmp_path: Path
) -> None:
    """A file and a variable of a Secret that ends with the run; a token that only the node ever has; all that the API server accepts, and no value in the Job."""
    canary = f"canary-{uuid.uuid4().hex}"
    story = make_story()
    config = tmp_path / "jobwarden.yaml"
    config.write_text(
        "apiVersion: jobwarden.dev/v1alpha1\nkind: ControllerConfiguration\n"
        "settings: {pods: {allow: {serviceAccounts: [deployer]}}}\n",
        encoding="utf-8",
    )
    cluster, namespace = story.cluster, story.namespace
    cluster.kubectl("create", "serviceaccount", "deployer", "-n", namespace).ok()
    cluster.kubectl("create", "secret", "generic", "api", f"--from-literal=token={canary}", "-n", namespace).ok()
    may = ("--verb=get", "--resource=secrets", "--resource-name=api", "-n", namespace)
    cluster.kubectl("create", "role", "reader", *may).ok()
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", "--user=controller", "-n", namespace).ok()
    deliver = [
        {"name": "key", "providerRef": {"name": "from-secret"}, "file": "deep/key"},
        {"name": "variable", "providerRef": {"name": "from-secret"}, "env": "TOKEN"},
        {"name": "node", "providerRef": {"name": "of-account"}, "file": "deep/token"},
    ]
    account = {"serviceAccountToken": {"name": "deployer", "audiences": ["payments"], "lifetime": "20m"}}
    cluster.apply(
        document("CredentialProvider", "from-secret", {"kubernetesSecret": {"name": "api", "keys": ["token"]}}),
        document("CredentialProvider", "of-account", account),
        document("CredentialPolicy", "all", {"deliver": deliver}),
        namespace=namespace,
    ).ok()
    story.start("--config", str(config))
    story.declare(
        credentialPolicyRef={"name": "all"}, env=[{"name": "SAME", "valueFrom": {"credentialRef": {"name": "key"}}}]
    )
    template = {"spec": {"containers": [{"name": "run", "image": "busybox:1.37"}]}}
    story.declare("templated", credentialPolicyRef={"name": "all"}, pod={"template": template})
    for name in ("one", "templated"):
        run = story.run(name)
        story.begin(run)
        made = story.job_of(run)
        assert canary not in json.dumps(made)
        pod = story.cluster.get("pod", story.pod(run), namespace)["spec"]
        assert pod["serviceAccountName"] == "deployer"
        (volume,) = [one for one in pod["volumes"] if one["name"] == "jobwarden-credentials"]
        hidden, token = volume["projected"]["sources"]
        assert token["serviceAccountToken"] == {"audience": "payments", "expirationSeconds": 1200, "path": "deep/token"}
        kept = hidden["secret"]["name"]
        secret = cluster.get("secret", kept, namespace)
        assert secret["immutable"] is True
        assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        assert values == {"file.0": canary, "TOKEN": canary} | ({"SAME": canary} if name == "one" else {})
        story.cluster.finish(story.pod(run), namespace)
        assert story.ended(run)["state"] == "Succeeded"
        wait_for(lambda kept=kept: cluster.get("secret", kept, namespace) is None, "the Secret to go")


def test_the_template_of_a_cronjob_pastes_as_it_is(story: Story) -> None:
    """Its own fields stay; only what a run has to have is added."""
    template = {
        "metadata": {"labels": {"app": "report"}},
        "spec": {
            "restartPolicy": "OnFailure",
            "initContainers": [{"name": "wait", "image": "busybox", "command": ["true"]}],
            "containers": [
                {"name": "side", "image": "busybox"},
                {"name": "report", "image": "example.org/report:2", "env": [{"name": "A", "value": "$(B)"}]},
            ],
        },
    }
    story.declare(pod={"template": template, "container": "report"})
    assert story.cluster.get("sjob", "one", story.namespace)["status"]["target"] == "pod"
    run = story.run("one", "--key", "k1")
    made = story.job_of(run)["spec"]["template"]
    assert made["metadata"]["labels"]["app"] == "report"
    assert made["spec"]["restartPolicy"] == "Never"
    assert made["spec"]["automountServiceAccountToken"] is False
    side, report = made["spec"]["containers"]
    assert "env" not in side
    variables = {one["name"]: one.get("value") for one in report["env"]}
    assert variables["A"] == "$(B)"
    assert variables["JOBWARDEN_RUN_ID"] == run
    story.cluster.finish(story.pod(run), story.namespace, container="report", message="rows=12\n")
    status = story.ended(run)
    assert (status["state"], status["outputs"]) == ("Succeeded", {"rows": "12"})


def test_a_pod_that_asks_for_more_than_the_settings_allow_is_refused(story: Story) -> None:
    """With the place in the template and the setting that would allow it; nothing is ever made of it."""
    wants = {"containers": [{"name": "a", "image": "b", "securityContext": {"privileged": True}}], "hostPID": True}
    story.cluster.apply(bare("greedy", pod={"template": {"spec": wants}}), namespace=story.namespace).ok()

    def stalled() -> Document | None:
        found = story.cluster.get("sjob", "greedy", story.namespace).get("status", {}).get("conditions", [])
        return next((one for one in found if one["type"] == "Stalled" and one["status"] == "True"), None)

    condition = story.warden.wait_for(stalled, "the job to be refused")
    assert "/spec/pod/template/spec/containers/0/securityContext/privileged" in condition["message"]
    assert "settings.pods.allow.privileged" in condition["message"]
    assert "(and 1 more)" in condition["message"]


def test_a_template_that_kubernetes_would_refuse_is_refused_before_it_runs(story: Story) -> None:
    """With the API server's own words, on the object; the last good version stays in force."""
    good = {"containers": [{"name": "a", "image": "b"}]}
    story.declare("typo", pod={"template": {"spec": good}})
    bad = {"containers": [{"name": "a", "image": "b", "imagePullPolice": "Never"}], "volumes": [{"name": "UPPER"}]}
    story.cluster.apply(bare("typo", pod={"template": {"spec": bad}}), namespace=story.namespace).ok()

    def stalled() -> Document | None:
        found = story.cluster.get("sjob", "typo", story.namespace).get("status", {}).get("conditions", [])
        return next((one for one in found if one["type"] == "Stalled" and one["status"] == "True"), None)

    condition = story.warden.wait_for(stalled, "the job to be refused")
    assert 'unknown field "spec.template.spec.containers[0].imagePullPolice"' in condition["message"]
    run = story.run("typo")
    story.cluster.finish(story.pod(run), story.namespace, container="a")
    assert story.ended(run)["state"] == "Succeeded"


def test_a_local_job_is_refused_where_only_pods_are_allowed(story: Story) -> None:
    """Nobody gets a program onto the controller's host by saying `executor: Local`."""
    story.cluster.apply(job("inside", executor="Local"), namespace=story.namespace).ok()

    def reason() -> str | None:
        found = story.cluster.get("sjob", "inside", story.namespace).get("status", {}).get("conditions", [])
        return next((one["message"] for one in found if one["type"] == "Ready" and one["status"] == "False"), None)

    assert "does not run jobs with the executor Local" in str(story.warden.wait_for(reason, "the job to be refused"))


def test_the_examples_for_a_cluster_become_pods(story: Story) -> None:
    """manifests/kubernetes/pods.yaml: accepted as it stands, and each job's Job by a real API server too."""
    text = (ROOT / "manifests/kubernetes/pods.yaml").read_text(encoding="utf-8")
    story.cluster.apply(text, namespace=story.namespace).ok()
    ready = ("--for=condition=Ready", "--timeout=55s")
    story.cluster.kubectl("wait", "sjob/measure", "sjob/two-steps", "-n", story.namespace, *ready).ok()
    report, steps = story.run("measure"), story.run("two-steps")
    story.finish(report)
    story.cluster.finish(story.pod(steps), story.namespace, container="second", message="answer=42\n")
    assert story.ended(report)["state"] == "Succeeded"
    assert story.ended(steps)["outputs"] == {"answer": "42"}


def test_only_so_many_jobs_are_kept(story: Story) -> None:
    """As `history` says of the runs; the oldest go."""
    story.declare(history={"succeeded": 2, "failed": 1})
    done = []
    for _ in range(4):
        run = story.run()
        story.finish(run)
        story.ended(run)
        wait_for(
            lambda run=run: "Complete" in json.dumps(story.job_of(run).get("status", {})), "the Job to be complete"
        )
        done.append(run)
    wait_for(lambda: story.cluster.get("job", done[0], story.namespace) is None, "the oldest Job to go")
    assert story.cluster.get("job", done[-1], story.namespace) is not None


@pytest.mark.slow
def test_an_api_server_that_is_away_holds_up_only_what_it_has_to(
    make_warden: Callable[..., Warden], tmp_path: Path
) -> None:
    """A run whose Pod goes on meanwhile is found again; one that is asked for meanwhile starts afterwards, once."""
    programs = tools("all")
    if programs is None:
        pytest.skip("Kubernetes could not be built here; `make cluster-tools` shows why")
    folder = Path(tempfile.gettempdir()) / f"jw-sim-{uuid.uuid4().hex[:12]}"
    with Simulated(folder, programs, *RIGHTS) as cluster, cluster.namespace() as namespace:
        environment = cluster.environment("controller") | {"JOBWARDEN_NAMESPACE": namespace}
        story = Story(make_warden(environment=environment), cluster, namespace)
        story.start()
        story.declare()
        story.declare("two")
        first = story.run()
        story.begin(first)
        cluster.stop_api()
        second = story.run("two")
        cluster.start_api()
        story.finish(second)
        assert story.ended(second)["state"] == "Succeeded"
        cluster.finish(story.pod(first), namespace)
        assert story.ended(first)["state"] == "Succeeded"
        jobs = json.loads(cluster.kubectl("get", "jobs", "-n", namespace, "-o", "json").ok().out)["items"]
        assert sorted(one["metadata"]["name"] for one in jobs) == sorted([first, second])
