"""What a run looks like as objects."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base.masked_stream import Needles
from controller.domain.job import (
    DeletionPolicy,
    EnvVar,
    ExecTarget,
    ExecutorKind,
    JobSpec,
    KeyRef,
    PodTarget,
    ShellTarget,
    Target,
)
from controller.domain.podbox import objections
from controller.executors.credentials import Token
from controller.executors.egress import NO_EXCEPTIONS, PROXIES
from controller.executors.protocol import ExecutionRequest, PodBox, PodRequest
from controller.kinds.configuration import EgressProxy
from controller.kubernetes import podspec
from controller.kubernetes.egress import Found, WayOut
from controller.kubernetes.podspec import Owner


def request(spec: JobSpec, **more: object) -> ExecutionRequest:
    """A run of this job."""
    fields = {"values": {"JOBWARDEN_RUN_ID": "a-1", "JOBWARDEN_OUTPUT": "/dev/termination-log"}, "secrets": {}}
    argv = ("/bin/sh", "-c", spec.target.script) if isinstance(spec.target, ShellTarget) else ()
    return ExecutionRequest(
        run="a-1",
        namespace="n",
        job="a",
        argv=argv,
        env={},
        timeout=spec.timeout,
        grace=timedelta(seconds=1.5),
        pod=PodRequest(spec=spec, **(fields | more)),  # type: ignore[arg-type]
    )


def expanded(text: str, known: dict[str, str]) -> str:
    """What Kubernetes makes of a text: `$$` is a dollar, `$(NAME)` the variable's value if there is one.

    Source: third_party/forked/golang/expansion of Kubernetes, as its API reference describes it.
    """
    return re.sub(r"\$(\$|\(([^)]*)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), text)


@given(st.text(alphabet="$()A b\n", max_size=30))
def test_a_script_reaches_the_shell_as_it_was_written(script: str) -> None:
    """No dollar of it is Kubernetes' own."""
    made = podspec.job(request(JobSpec(ShellTarget(script or "x"), executor=ExecutorKind.Kubernetes, image="i")), None)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert expanded(container["command"][2], {"A": "wrong", "": "wrong"}) == (script or "x")


def test_a_program_replaces_the_entry_point_of_the_image() -> None:
    """Command and arguments as in a container's own words; seconds are whole, and never fewer than asked for."""
    made = podspec.job(request(JobSpec(ExecTarget(("cat",), ("-",)), image="i")), None)
    pod = made["spec"]["template"]["spec"]
    assert (pod["containers"][0]["command"], pod["containers"][0]["args"]) == (["cat"], ["-"])
    assert pod["terminationGracePeriodSeconds"] == 2
    assert "ownerReferences" not in made["metadata"]


def test_what_is_orphaned_has_no_owner() -> None:
    """Else Kubernetes itself would delete it with the ScheduledJob."""
    spec = JobSpec(ExecTarget(("true",)), image="i", deletion_policy=DeletionPolicy.Orphan)
    assert "ownerReferences" not in podspec.job(request(spec), Owner("a", "u"))["metadata"]
    spec = JobSpec(ExecTarget(("true",)), image="i")
    assert podspec.job(request(spec), Owner("a", "u"))["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_an_account_that_is_named_keeps_its_token() -> None:
    """Whether it may be named was asked before."""
    container = {"name": "c", "image": "i"}
    for account, mounted in ((None, False), ("builder", None)):
        template = {"spec": {"containers": [container], **({"serviceAccountName": account} if account else {})}}
        spec = JobSpec(PodTarget(template), executor=ExecutorKind.Kubernetes)
        pod = podspec.job(request(spec), None)["spec"]["template"]["spec"]
        assert pod.get("automountServiceAccountToken") is mounted
        assert "env" not in container, "the author's own template was changed"


TARGETS = [
    ShellTarget("true"),
    ExecTarget(("true",)),
    PodTarget({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: type(one).__name__)
def test_a_pod_in_a_box_keeps_its_profile_with_whatever_a_run_adds(target: Target) -> None:
    """Nothing of ours is against it; without a box nothing is filled in but what every Pod has."""
    spec = JobSpec(target, executor=ExecutorKind.Kubernetes, image="i")
    boxed = podspec.job(request(spec, box=PodBox(confined=True)), None)["spec"]["template"]
    assert objections(boxed) == ()
    (container,) = boxed["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {one["mountPath"] for one in container["volumeMounts"]} == {"/tmp", "/home/jobwarden"}
    assert {"name": "HOME", "value": "/home/jobwarden"} in container["env"]
    assert podspec.NETWORK_LABEL not in boxed["metadata"]["labels"]
    plain = podspec.job(request(spec), None)["spec"]["template"]["spec"]
    assert "volumes" not in plain
    assert "readOnlyRootFilesystem" not in plain["containers"][0].get("securityContext", {})


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: type(one).__name__)
def test_a_pod_without_a_network_can_be_told_by_its_label(target: Target) -> None:
    """Also where its author has put another value there."""
    if isinstance(target, PodTarget):
        target = PodTarget(target.template | {"metadata": {"labels": {podspec.NETWORK_LABEL: "mine", "a": "b"}}})
    spec = JobSpec(target, executor=ExecutorKind.Kubernetes, image="i")
    shut = podspec.job(request(spec, box=PodBox(shut=True)), None, podspec.NO_NETWORK)["spec"]["template"]
    assert shut["metadata"]["labels"][podspec.NETWORK_LABEL] == podspec.NO_NETWORK
    taken = podspec.tombstone(request(spec, box=PodBox(shut=True)), None)
    assert podspec.is_tombstone(taken)


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: type(one).__name__)
def test_a_pod_behind_a_fence_begins_with_seeing_that_it_holds(target: Target) -> None:
    """Before whatever else its author has it do, with as few rights as any; nowhere else, and not where nobody has said with which image."""
    if isinstance(target, PodTarget):
        body = target.template["spec"] | {"initContainers": [{"name": "own", "image": "i"}]}
        target = PodTarget({"spec": body}, container=target.container)
    spec = JobSpec(target, executor=ExecutorKind.Kubernetes, image="i")
    checked = request(spec, box=PodBox(confined=True, shut=True, check_image="jobwarden:1"))
    made = podspec.job(checked, None, podspec.NO_NETWORK)["spec"]["template"]
    names = [one["name"] for one in made["spec"]["initContainers"]]
    assert names == ["jobwarden-fence", *(["own"] if isinstance(target, PodTarget) else [])]
    assert made["spec"]["initContainers"][0]["image"] == "jobwarden:1"
    assert objections(made) == ()
    for box, network in ((PodBox(shut=True), podspec.NO_NETWORK), (PodBox(check_image="jobwarden:1"), None)):
        plain = podspec.job(request(spec, box=box), None, network)["spec"]["template"]["spec"]
        assert "jobwarden-fence" not in [one["name"] for one in plain.get("initContainers", ())]


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: type(one).__name__)
def test_a_job_cannot_talk_its_pod_out_of_the_proxy(tmp_path: Path, target: Target) -> None:
    """Whatever it declares under those names, the last word is the controller's: each name stands there once."""
    (tmp_path / "key").write_text("k" * 40)
    way_out = WayOut(
        EgressProxy(host="proxy", namespace="jobwarden", pod_labels={"a": "b"}, key_file=str(tmp_path / "key"))
    )
    declared = (
        EnvVar("HTTPS_PROXY", secret_key_ref=KeyRef("s", "k")),
        EnvVar("NO_PROXY", config_map_key_ref=KeyRef("c", "k")),
    )
    if isinstance(target, PodTarget):
        own = [{"name": name, "value": "mine"} for name in ("HTTPS_PROXY", "no_proxy", "A")]
        target = PodTarget({"spec": {"containers": [{"name": "c", "image": "i", "env": own}]}})
    spec = JobSpec(target, executor=ExecutorKind.Kubernetes, image="i", env=declared)
    values = {**VALUES, "http_proxy": "http://mine", "NO_PROXY": "*"}
    asked = request(spec, values=values, secrets={"ALL_PROXY": "mine"}, box=PodBox(hosts=("example.com",)))
    asked = msgspec.structs.replace(asked, needles=Needles({}))
    equipped = way_out.equip(asked, Found("2001:db8::1", [b"k" * 40]), datetime(2030, 1, 1, tzinfo=UTC))
    made = podspec.job(equipped, None, "Proxied-x")
    made["metadata"]["uid"] = "uid"
    secret = podspec.secret(equipped, made)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one for one in container["env"]}
    assert len(variables) == len(container["env"])
    assert {name: variables[name]["value"] for name in NO_EXCEPTIONS} == NO_EXCEPTIONS
    for name in PROXIES:
        wanted = {"name": secret["metadata"]["name"], "key": name}
        assert variables[name]["valueFrom"] == {"secretKeyRef": wanted}
        assert secret["stringData"][name].endswith("@[2001:db8::1]:3128")
    assert made["spec"]["suspend"] is True


def test_a_secret_is_nowhere_but_in_its_secret() -> None:
    """The Job waits for it, and names it only."""
    spec = JobSpec(ExecTarget(("true",)), image="i")
    asked = request(spec, secrets={"PASSWORD": "canary"})
    made = podspec.job(asked, None)
    assert made["spec"]["suspend"] is True
    assert "canary" not in repr(made)
    assert "canary" not in repr(asked)
    made["metadata"]["uid"] = "uid"
    secret = podspec.secret(asked, made)
    assert secret["stringData"] == {"PASSWORD": "canary"}
    (container,) = made["spec"]["template"]["spec"]["containers"]
    named = {one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "valueFrom" in one}
    assert named == {secret["metadata"]["name"]}


def test_nobody_can_take_the_name_of_a_secret_in_advance() -> None:
    """A second attempt has another one, though the run is the same."""
    spec = JobSpec(ExecTarget(("true",)), image="i")
    names = {podspec.secret_name(podspec.job(request(spec, secrets={"A": "b"}), None)) for _ in range(2)}
    assert len(names) == 2


TOKEN = Token("t", "api/token", "deployer", "payments", timedelta(minutes=20))
VALUES = {"JOBWARDEN_RUN_ID": "a-1", "JOBWARDEN_OUTPUT": "/dev/termination-log", "CREDENTIALS_DIRECTORY": "/creds"}


def test_files_of_credentials_are_in_the_secret_and_mounted_for_the_container_alone() -> None:
    """Paths may have folders, contents any bytes; beside them is what the node itself puts there, as the account that the token is for."""
    spec = JobSpec(ExecTarget(("true",)), image="i")
    files = {"deep/key": b"canary\0", "plain": b"canary-2"}
    asked = request(spec, values=VALUES, secrets={"A": "b"}, files=files, tokens=(TOKEN,))
    made = podspec.job(asked, None)
    assert made["spec"]["suspend"] is True
    assert "canary" not in repr(made)
    made["metadata"]["uid"] = "uid"
    secret = podspec.secret(asked, made)
    assert secret["immutable"] is True
    assert {key: base64.b64decode(value) for key, value in secret["data"].items()} == {
        "file.0": b"canary\0",
        "file.1": b"canary-2",
    }
    pod = made["spec"]["template"]["spec"]
    (volume,) = pod["volumes"]
    assert volume["projected"] == {
        "defaultMode": 0o400,
        "sources": [
            {
                "secret": {
                    "name": secret["metadata"]["name"],
                    "items": [{"key": "file.0", "path": "deep/key"}, {"key": "file.1", "path": "plain"}],
                }
            },
            {"serviceAccountToken": {"path": "api/token", "audience": "payments", "expirationSeconds": 1200}},
        ],
    }
    assert pod["containers"][0]["volumeMounts"] == [{"name": volume["name"], "mountPath": "/creds", "readOnly": True}]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("deployer", False)
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_a_template_gets_its_credentials_beside_what_it_has() -> None:
    """Only the container that the run is sees them; a token alone needs no Secret, and a Pod without credentials no volume."""
    main = {"name": "c", "image": "i", "env": [{"name": "A", "value": "own"}, {"name": "B", "value": "own"}]}
    main["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    template = {
        "spec": {"containers": [main, {"name": "d", "image": "i"}], "volumes": [{"name": "data", "emptyDir": {}}]}
    }
    spec = JobSpec(PodTarget(template), executor=ExecutorKind.Kubernetes)
    asked = request(spec, values=VALUES, secrets={"A": "canary"}, files={"key": b"canary"})
    pod = podspec.job(asked, None)["spec"]["template"]["spec"]
    first, second = pod["containers"]
    assert [one["name"] for one in pod["volumes"]] == ["data", "jobwarden-credentials"]
    assert pod["volumes"][1]["projected"]["defaultMode"] == 0o444
    assert [one["mountPath"] for one in first["volumeMounts"]] == ["/data", "/creds"]
    assert second == {"name": "d", "image": "i"}
    variables = {one["name"]: one for one in first["env"]}
    assert len(variables) == len(first["env"])
    assert variables["A"]["valueFrom"]["secretKeyRef"]["key"] == "A"
    assert (variables["B"]["value"], variables["CREDENTIALS_DIRECTORY"]["value"]) == ("own", "/creds")
    assert not podspec.hides(request(spec, values=VALUES, tokens=(TOKEN,)))
    assert (
        "volumes"
        not in podspec.job(request(JobSpec(ExecTarget(("true",)), image="i")), None)["spec"]["template"]["spec"]
    )
