"""Whether admission keeps decisions and requesters truthful: the policies of manifests/kubernetes/admission.yaml, as the API server has them.

`approvals` and `run_requests` ask before they believe what an object says about a person. Invariant: what is missing, weaker, changed or not known counts as not
in force; a mark stands for exactly one installation of a policy, so that what was written under none, or under another one, can be told.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from controller.kinds.catalog import API_VERSION
from controller.kinds.values import instant
from controller.kubernetes.objects import ApiFailed, Objects

APPROVALS = "approvals.jobwarden.dev"
RUN_REQUESTS = "runrequests.jobwarden.dev"
MARK = "jobwarden.dev/admission"
"""Annotation of an Approval: the mark of the policy that it was made under."""

SHIPPED: Mapping[str, str] = {
    APPROVALS: "sha256:1603eb549eff1af2519adbc3458476aefc5373f2ad5bde9a09a2f312a9c1a8cb",
    RUN_REQUESTS: "sha256:39ea227f288934c484ab29f5dbdfcdcbe64b6da08dd6c3f71cb327401629a442",
}
"""Fingerprints of the policies in manifests/kubernetes/admission.yaml; a test compares them."""

_CONTROLLERS = "controllers"
_NAMES = re.compile(r"\[\s*'[^'\\]+'(\s*,\s*'[^'\\]+')*\s*\]")
_INSTALL = "`kubectl apply -f manifests/kubernetes/admission.yaml` installs it"
_canonical = msgspec.json.Encoder(order="sorted").encode


class Admission(msgspec.Struct, frozen=True):
    """One policy and its binding. `mark` is empty while they are not in force, and `problem` says why and what to do then.

    `since` is when this very policy was made, None where it has been changed since, so that nobody can tell.
    """

    mark: str = ""
    problem: str = ""
    since: datetime | None = None


async def look(objects: Objects, name: str) -> Admission:
    """How the policy stands now, asked anew. Errors: ApiFailed when the API server does not say."""
    try:
        policy = await objects.admission("ValidatingAdmissionPolicy", name)
        binding = await objects.admission("ValidatingAdmissionPolicyBinding", name)
    except ApiFailed as error:
        if error.code not in (401, 403):
            raise
        return Admission(
            problem=f"whether the policy {name} is in force may not be asked; manifests/kubernetes/rights.yaml has what is needed"
        )
    return judge(name, policy, binding)


def judge(name: str, policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> Admission:
    """Whether they are what is shipped, but for the names of the controllers. Pure."""
    if policy is None or _is_leaving(policy):
        return Admission(problem=f"the ValidatingAdmissionPolicy {name} is not installed; {_INSTALL}")
    if fingerprint(policy["spec"]) != SHIPPED[name]:
        return Admission(
            problem=f"the ValidatingAdmissionPolicy {name} is not the one of this version of jobwarden; {_INSTALL}"
        )
    if binding is None or _is_leaving(binding):
        return Admission(problem=f"the ValidatingAdmissionPolicyBinding {name} is not installed; {_INSTALL}")
    if binding["spec"] != {"policyName": name, "validationActions": ["Deny"]}:
        return Admission(
            problem=f"the ValidatingAdmissionPolicyBinding {name} does not deny everywhere, as the shipped one does; {_INSTALL}"
        )
    both = (policy["metadata"], binding["metadata"])
    identity = [[one["uid"], one.get("generation", 1)] for one in both]
    untouched = all(generation == 1 for _, generation in identity)
    made = max(instant(one["creationTimestamp"]) for one in both)
    return Admission(
        mark=hashlib.sha256(_canonical(identity)).hexdigest()[:32],
        since=made if untouched else None,
    )


def fingerprint(spec: Mapping[str, Any]) -> str:
    """A digest of a policy without the names of the controllers, which every installation has its own of; "" for one that hides rules there. Pure."""
    kept = []
    for variable in spec.get("variables", ()):
        if variable.get("name") != _CONTROLLERS:
            kept.append(variable)
        elif _NAMES.fullmatch(variable.get("expression", "")) is None:
            return ""
    return "sha256:" + hashlib.sha256(_canonical({**spec, "variables": kept})).hexdigest()


async def tried(objects: Objects, namespace: str, policy: Admission) -> Admission:
    """`policy` if the API server refuses what the policy of Approvals forbids, which it does a moment after that is there; else what is in the way. Nothing is made.

    Errors: ApiFailed where another try may tell.
    """
    probe = {
        "apiVersion": API_VERSION,
        "kind": "Approval",
        "metadata": {"generateName": "probe-", "namespace": namespace},
        "spec": {"jobRef": {"name": "probe"}, "dispatch": "probe", "digest": "probe"},
    }
    try:
        await objects.create(probe, dry_run=True)
    except ApiFailed as error:
        if APPROVALS in str(error):
            return policy
        if error.passing:
            raise
        return Admission(problem=f"whether the API server enforces its policy cannot be tried: {error}")
    return Admission(problem="the API server does not enforce its policy yet; it will in a moment")


def _is_leaving(body: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in body["metadata"]
