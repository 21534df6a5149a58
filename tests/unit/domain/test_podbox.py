"""A Pod within the box of a contract: what the profile asks for is there, whatever template it was made of, or the template is objected to."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from controller.domain.podbox import HOME, confined, objections
from tests.unit.domain.test_pods import ANYTHING, DEMANDS, container, pod

BOOLEANS = st.none() | st.booleans()


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


SECCOMP = st.sampled_from(
    [None, {"type": "RuntimeDefault"}, {"type": "Localhost", "localhostProfile": "p"}, {}, {"type": "Unconfined"}]
)
CAPABILITIES = some(
    drop=st.none() | st.lists(st.sampled_from(["ALL", "NET_RAW"]), max_size=2, unique=True),
    add=st.none() | st.lists(st.sampled_from(["NET_BIND_SERVICE", "SYS_ADMIN"]), max_size=1),
)
USERS = st.sampled_from([None, 0, 1000])
CONTAINERS = st.lists(
    some(
        securityContext=st.none()
        | some(
            privileged=BOOLEANS,
            allowPrivilegeEscalation=BOOLEANS,
            readOnlyRootFilesystem=BOOLEANS,
            runAsNonRoot=BOOLEANS,
            runAsUser=USERS,
            seccompProfile=SECCOMP,
            capabilities=st.none() | CAPABILITIES,
            procMount=st.sampled_from([None, "Default", "Unmasked"]),
        ),
        env=st.none() | st.lists(st.sampled_from([{"name": "HOME", "value": "/srv"}, {"name": "A"}]), max_size=2),
        volumeMounts=st.none()
        | st.lists(st.sampled_from([{"name": "data", "mountPath": one} for one in ("/tmp", "//tmp/", "/data")]), max_size=2),
        ports=st.lists(st.sampled_from([{"containerPort": 80}, {"containerPort": 80, "hostPort": 80}]), max_size=1),
    ).map(lambda fields: {"name": "c", "image": "i", **fields}),
    max_size=2,
)  # fmt: skip
VOLUMES = st.lists(
    st.sampled_from(
        [
            {"name": "data", "emptyDir": {}},
            {"name": "jobwarden-tmp", "configMap": {"name": "c"}},
            {"name": "jobwarden-home", "secret": {"secretName": "s"}},
            {"name": "nfs", "nfs": {"server": "s", "path": "/"}},
            {"name": "host", "hostPath": {"path": "/"}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ]
    ),
    max_size=3,
    unique_by=lambda one: str(one["name"]),
)
TEMPLATES = some(
    hostNetwork=BOOLEANS,
    hostPID=BOOLEANS,
    hostIPC=BOOLEANS,
    automountServiceAccountToken=BOOLEANS,
    serviceAccountName=st.just("builder"),
    os=st.sampled_from([{"name": "linux"}, {"name": "windows"}]),
    securityContext=st.none() | some(runAsNonRoot=BOOLEANS, runAsUser=USERS, seccompProfile=SECCOMP),
    initContainers=CONTAINERS,
    containers=CONTAINERS,
    volumes=st.none() | VOLUMES,
).map(lambda spec: {"spec": spec})


def faults(spec: dict[str, Any]) -> Iterator[str]:
    """What of a Pod does not keep the profile, as whoever reads its promise would look for it."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    if spec.get("automountServiceAccountToken") is not False:
        yield "token"
    whole = spec.get("securityContext") or {}
    for one in spec.get("volumes") or ():
        if {"hostPath", "nfs"} & one.keys() or "serviceAccountToken" in str(one):
            yield f"volume {one['name']}"
    for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        context = one.get("securityContext") or {}

        def of(name: str, context: Any = context) -> Any:
            return context.get(name) if context.get(name) is not None else whole.get(name)

        mounted = {mount["mountPath"] for mount in one.get("volumeMounts") or ()}
        homes = {variable.get("value") for variable in one.get("env") or () if variable["name"] == "HOME"}
        capabilities = context.get("capabilities") or {}
        wrong = {
            "root": of("runAsNonRoot") is not True or of("runAsUser") == 0,
            "seccomp": (of("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "privileges": context.get("allowPrivilegeEscalation") is not False or bool(context.get("privileged")),
            "capabilities": "ALL" not in (capabilities.get("drop") or ()) or bool(capabilities.get("add")),
            "writable": context.get("readOnlyRootFilesystem") is not True,
            "proc": context.get("procMount") == "Unmasked",
            "port": any(port.get("hostPort") for port in one.get("ports") or ()),
            "no /tmp": not {"/tmp", "//tmp/"} & mounted,
            "no home": not homes or (HOME in homes and HOME not in mounted),
        }
        yield from (name for name, there in wrong.items() if there)


def kept(before: Any, after: Any) -> bool:
    """Whether all that was said is still said: lists have grown at their ends only, null has become something."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(name in after and kept(value, after[name]) for name, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(after) >= len(before) and all(map(kept, before, after))
    return before is None or before == after


@given(TEMPLATES)
def test_a_pod_keeps_the_profile_whatever_its_template_or_the_template_is_objected_to(template: dict[str, Any]) -> None:
    """And only then; what it says itself stays as it was said."""
    made, against = confined(template), objections(template)
    event("objected to" if against else "confined")
    if not against:
        assert list(faults(made["spec"])) == []
    assert kept(template, made)
    assert len({one.pointer for one in against}) == len(against)


@given(TEMPLATES)
def test_only_what_a_template_says_is_objected_to(template: dict[str, Any]) -> None:
    """Each pointer leads to something that is there."""
    for one in objections(template):
        place: Any = template
        for part in one.pointer.strip("/").split("/"):
            place = place[int(part)] if isinstance(place, list) else place.get(part, "nothing")
            if place in ("nothing", None) or place == {}:
                break
        assert place != "nothing" or one.pointer.endswith("/type"), one


@given(TEMPLATES)
def test_confining_twice_is_confining_once(template: dict[str, Any]) -> None:
    """And the author's own template is left alone."""
    before = copy.deepcopy(template)
    made = confined(template)
    assert template == before
    assert confined(made) == made
    names = [one["name"] for one in made["spec"].get("volumes") or ()]
    assert len(names) == len(set(names))


@given(st.dictionaries(st.sampled_from(["spec", "metadata"]), ANYTHING))
def test_no_shape_of_a_template_raises(template: dict[str, Any]) -> None:
    """Another's template must not stop a gate."""
    objections(template)


@pytest.mark.parametrize("body", [body for setting, body in DEMANDS if "serviceAccount" not in str(body)])
def test_what_a_setting_may_allow_a_box_does_not(body: dict[str, Any]) -> None:
    """The contract is stronger than the template, and than the controller's settings."""
    assert objections({"spec": body})


def test_an_account_may_be_named_but_proves_nothing() -> None:
    """Images may be pulled with it; its token is not there, and asking for it is refused."""
    assert confined({"spec": pod(serviceAccountName="builder")})["spec"]["automountServiceAccountToken"] is False
    assert objections({"spec": pod(serviceAccountName="builder")}) == ()
    (one,) = objections({"spec": pod(serviceAccountName="builder", automountServiceAccountToken=True)})
    assert one.pointer == "/spec/automountServiceAccountToken"


def test_a_home_of_ones_own_is_ones_own_business() -> None:
    """Who sets HOME, or mounts something at /tmp, knows why."""
    body = container(env=[{"name": "HOME", "value": "/work"}], volumeMounts=[{"name": "w", "mountPath": "/tmp/"}])
    made = confined({"spec": body})["spec"]
    assert "volumes" not in made
    assert made["containers"][0]["env"] == body["containers"][0]["env"]
