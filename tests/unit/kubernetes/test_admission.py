"""Whether the policies are in force: only as they are shipped, and only all of them."""

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.kubernetes.admission import APPROVALS, RUN_REQUESTS, SHIPPED, fingerprint, judge
from tests.harness.warden import ROOT

_TEXT = (ROOT / "manifests/kubernetes/admission.yaml").read_text(encoding="utf-8")
POLICIES = {one["metadata"]["name"]: one for one in yaml.safe_load_all(_TEXT) if "Binding" not in one["kind"]}
BINDINGS = {one["metadata"]["name"]: one for one in yaml.safe_load_all(_TEXT) if "Binding" in one["kind"]}


def stored(document: Any, uid: str = "u", generation: int = 1, **metadata: Any) -> Any:
    """A document as an API server gives it back."""
    made = {"uid": uid, "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {**copy.deepcopy(document), "metadata": {**document["metadata"], **made, **metadata}}


def names(policy: Any, expression: str) -> Any:
    """A policy with another list of controllers."""
    changed = copy.deepcopy(policy)
    next(one for one in changed["spec"]["variables"] if one["name"] == "controllers")["expression"] = expression
    return changed


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_what_the_controller_looks_for(name: str) -> None:
    """Who changes admission.yaml changes the fingerprints in controller/kubernetes/admission.py, and knows why."""
    assert fingerprint(POLICIES[name]["spec"]) == SHIPPED[name]
    found = judge(name, stored(POLICIES[name]), stored(BINDINGS[name]))
    assert found.mark
    assert found.problem == ""
    assert found.since is not None


def test_every_installation_names_its_own_controllers() -> None:
    """Which is the one thing that may differ; anything but names in that place could be a rule."""
    spec = POLICIES[APPROVALS]["spec"]
    for expression in ("['a']", "['system:serviceaccount:x:y', 'b']"):
        assert fingerprint(names(POLICIES[APPROVALS], expression)["spec"]) == fingerprint(spec)
    for expression in ("[]", "['a'] + ['b']", "[request.userInfo.username]", "['a\\'']", "true"):
        assert fingerprint(names(POLICIES[APPROVALS], expression)["spec"]) == ""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something in a document can be changed, but for the names of the controllers."""
    if isinstance(value, dict):
        if value.get("name") == "controllers":
            return []
        return [path, *(found for key, one in value.items() for found in places(one, (*path, key)))]
    if isinstance(value, list):
        return [path, *(found for index, one in enumerate(value) for found in places(one, (*path, index)))]
    return [path]


@given(st.sampled_from(sorted(SHIPPED)), st.data())
def test_nothing_weaker_or_other_is_in_force(name: str, data: st.DataObject) -> None:
    """Whatever is changed or left out, anywhere in either of the two."""
    both = {"policy": stored(POLICIES[name]), "binding": stored(BINDINGS[name])}
    which = data.draw(st.sampled_from(sorted(both)))
    path = data.draw(st.sampled_from([one for one in places(both[which]["spec"]) if one]))
    place = both[which]["spec"]
    for step in path[:-1]:
        place = place[step]
    if isinstance(place[path[-1]], dict | list) or data.draw(st.booleans()):
        del place[path[-1]]
    else:
        place[path[-1]] = "other"
    found = judge(name, both["policy"], both["binding"])
    assert found.mark == ""
    assert "manifests/kubernetes/admission.yaml" in found.problem


@pytest.mark.parametrize("more", [{"matchResources": {}}, {"paramRef": {"name": "x"}}, {"policyName": "other"}])
def test_a_binding_that_holds_for_less_is_none(more: dict[str, Any]) -> None:
    """Nothing is left out of it by selectors or parameters."""
    binding = stored(BINDINGS[APPROVALS])
    binding["spec"] |= more
    assert judge(APPROVALS, stored(POLICIES[APPROVALS]), binding).mark == ""


def test_what_is_missing_or_leaving_is_not_in_force() -> None:
    """Either of the two."""
    policy, binding = stored(POLICIES[RUN_REQUESTS]), stored(BINDINGS[RUN_REQUESTS])
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    gone = {**policy, "metadata": {**policy["metadata"], **leaving}}
    for pair in ((None, binding), (policy, None), (None, None), (gone, binding)):
        found = judge(RUN_REQUESTS, *pair)
        assert found.mark == ""
        assert "kubectl apply -f manifests/kubernetes/admission.yaml" in found.problem


@given(st.tuples(st.text(max_size=3), st.integers(1, 3)), st.tuples(st.text(max_size=3), st.integers(1, 3)))
def test_a_mark_stands_for_one_installation(one: tuple[str, int], two: tuple[str, int]) -> None:
    """Made again, or changed and changed back: another mark, whatever was written in between is told apart."""

    def mark(policy: tuple[str, int], binding: tuple[str, int]) -> str:
        return judge(APPROVALS, stored(POLICIES[APPROVALS], *policy), stored(BINDINGS[APPROVALS], *binding)).mark

    assert (mark(one, two) == mark(two, one)) == (one == two)
    assert (mark(one, one) == mark(one, two)) == (one == two)
