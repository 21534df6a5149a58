"""What a Pod template must not ask for unless the controller's settings allow it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain import job, pods
from controller.domain.pods import demands
from controller.domain.reasons import Reason
from controller.domain.resolve import Defaults, PodsAllow
from controller.reconcile import check

EVERYTHING = PodsAllow(privileged=True, host_namespaces=True, host_paths=True, service_accounts=("default", "builder"))


def container(**fields: Any) -> dict[str, Any]:
    """A Pod of one container."""
    return {"containers": [{"name": "c", "image": "i", **fields}]}


def pod(**fields: Any) -> dict[str, Any]:
    """A Pod with these fields beside its container."""
    return container() | fields


def confined(**fields: Any) -> list[dict[str, Any]]:
    """A security context of the Pod, and one of its container."""
    return [pod(securityContext=fields), container(securityContext=fields)]


def projected(kind: str) -> dict[str, Any]:
    """A volume made of one source."""
    return {"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}, {kind: {"path": "token"}}]}}


DEMANDS = [
    ("hostNamespaces", pod(hostPID=True)),
    ("hostNamespaces", container(ports=[{"containerPort": 80, "hostPort": 80}])),
    ("hostNamespaces", pod(initContainers=[{"name": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}])),
    ("hostNamespaces", container(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}})),
    ("hostNamespaces", container(lifecycle={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}})),
    ("hostPaths", pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])),
    ("serviceAccounts", pod(serviceAccountName="admin")),
    ("serviceAccounts", pod(serviceAccount="admin")),
    ("serviceAccounts", pod(volumes=[projected("serviceAccountToken")])),
    ("serviceAccounts", pod(volumes=[projected("podCertificate")])),
    ("privileged", container(securityContext={"privileged": True})),
    ("privileged", container(securityContext={"capabilities": {"add": ["NET_BIND_SERVICE", "SYS_ADMIN"]}})),
    ("privileged", container(securityContext={"procMount": "Unmasked"})),
    ("privileged", pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})),
    *(("privileged", one) for one in confined(seccompProfile={"type": "Unconfined"})),
    *(("privileged", one) for one in confined(appArmorProfile={"type": "Unconfined"})),
    *(("privileged", one) for one in confined(seLinuxOptions={"type": "spc_t"})),
    *(("privileged", one) for one in confined(seLinuxOptions={"user": "system_u"})),
    *(("privileged", one) for one in confined(windowsOptions={"hostProcess": True})),
]


@pytest.mark.parametrize(("setting", "body"), DEMANDS)
def test_what_the_baseline_forbids_needs_a_setting(setting: str, body: dict[str, Any]) -> None:
    """And that setting alone allows it."""
    assert [one.setting for one in demands({"spec": body}, PodsAllow())] == [setting]
    assert not list(demands({"spec": body}, EVERYTHING) if setting != "serviceAccounts" else ())
    allowed = {"hostNamespaces": "host_namespaces", "hostPaths": "host_paths", "privileged": "privileged"}
    if setting in allowed:
        assert not list(demands({"spec": body}, PodsAllow(**{allowed[setting]: True})))


def test_apparmor_can_be_taken_away_by_an_old_annotation() -> None:
    """Kubernetes still reads it."""
    metadata = {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined", "a": "b"}}
    (found,) = demands({"metadata": metadata, "spec": container()}, PodsAllow())
    assert found.setting == "privileged"


def test_an_account_that_is_allowed_may_have_its_token_where_it_wants() -> None:
    """In a volume of its own as well; the account that nobody named has to be allowed by its name."""
    volumes = [projected("serviceAccountToken")]
    builder = PodsAllow(service_accounts=("builder",))
    assert not list(demands({"spec": pod(serviceAccountName="builder", volumes=volumes)}, builder))
    assert list(demands({"spec": pod(volumes=volumes)}, builder))
    assert not list(demands({"spec": pod(volumes=volumes)}, PodsAllow(service_accounts=("default",))))


def test_what_every_pod_may_have_needs_no_setting() -> None:
    """The usual hardening, safe sysctls, probes of the Pod itself."""
    body = container(
        securityContext={"capabilities": {"add": ["NET_BIND_SERVICE"]}, "seLinuxOptions": {"type": "container_t"}},
        startupProbe={"httpGet": {"port": 80}},
        ports=[{"containerPort": 80, "hostPort": 0}],
    )
    sysctls = [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]
    body |= {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "sysctls": sysctls}}
    assert not list(demands({"spec": body}, PodsAllow()))


FIELDS = [
    "spec",
    "metadata",
    "annotations",
    "containers",
    "ports",
    "env",
    "securityContext",
    "capabilities",
    "add",
    "sysctls",
    "seLinuxOptions",
    "type",
    "volumes",
    "projected",
    "sources",
    "serviceAccountName",
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["spec", "metadata"]), ANYTHING))
def test_no_shape_of_a_template_raises(template: dict[str, Any]) -> None:
    """Another's template must not stop the reconciler."""
    list(demands(template, PodsAllow()))


def test_a_pod_where_nobody_would_look_after_it_is_refused() -> None:
    """When its document is read, and again when it would start: settings may have changed in between."""
    spec = job.JobSpec(job.ExecTarget(("true",)), executor=job.ExecutorKind.Kubernetes, image="i")
    settings = Defaults(executors=(job.ExecutorKind.Kubernetes,), pod_namespaces=("team-a",))
    assert list(check.placed(spec, "team-a", settings)) == []
    (problem,) = check.placed(spec, "team-b", settings)
    assert (problem.pointer, problem.reason) == ("/metadata/namespace", Reason.ExecutorNotAllowed)
    assert pods.refusal(spec, "team-a", settings) is None
    assert "team-b" in (pods.refusal(spec, "team-b", settings) or "")
