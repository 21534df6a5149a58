"""Rules of the kinds of trust: nothing that limits a run may be said in a way that limits nothing."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from controller.base import durations, urls
from controller.kinds.findings import Finding, Spec, shown
from controller.kinds.records import Reason
from controller.kinds.rules.lists import doubles

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_ADDRESS = "Write it as https://HOST/PATH; what it must not show belongs into headersFrom"
_LONGEST_QUESTION = timedelta(minutes=1)
# With their defaults, which an API server writes into every rule.
_ESCALATION: Mapping[str, Any] = {"approvals": 1, "allowSelf": False, "timeout": "24h"}


def contract(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one TrustContract or ClusterTrustContract. Pure."""
    spec: Spec = document["spec"]
    yield from box(spec, "/spec")
    yield from _match(spec)


def policy(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one AuthorizationPolicy or ClusterAuthorizationPolicy. Pure."""
    spec: Spec = document["spec"]
    for index, rule in enumerate(spec.get("rules", ())):
        for field, default in _ESCALATION.items():
            if rule.get(field, default) != default and rule["decision"] != "Escalate":
                message = f"{field} says how people are asked, and the rule says {rule['decision']}"
                yield Finding(
                    f"/spec/rules/{index}/{field}",
                    Reason.InvalidCombination,
                    message,
                    "Remove it, or use decision: Escalate",
                )
    yield from _decision_points(spec)
    yield from _match(spec)


def _decision_points(spec: Spec) -> Iterator[Finding]:
    asked = [name for name in ("external", "subjectAccessReview") if name in spec]
    if asked and spec.get("default") == "Permit":
        message = f"default says what holds where nobody decides, and {asked[0]} always decides: no answer is a Deny"
        yield Finding("/spec/default", Reason.InvalidCombination, message, "Remove it")
    external = spec.get("external") or {}
    if "url" in external and (why := urls.objection(external["url"])):
        yield Finding("/spec/external/url", Reason.InvalidValue, f"the URL cannot be asked: {why}", _ADDRESS)
    if "timeout" in external and durations.parse(external["timeout"]) > _LONGEST_QUESTION:
        message = "a question is given up after 1m, together with the run that waits for its answer"
        yield Finding("/spec/external/timeout", Reason.OutOfRange, message, "Write 1m or less")
    headers = [{"name": header["name"].lower()} for header in external.get("headersFrom", ())]
    yield from doubles(headers, "/spec/external/headersFrom", "header", "name")


def box(spec: Spec, pointer: str) -> Iterator[Finding]:
    """The findings about the box of a contract, wherever it is written. Pure."""
    network = (spec.get("box") or {}).get("network") or {}
    if network.get("hosts") and network.get("mode", "Unrestricted") != "Restricted":
        message = f"hosts limit nothing with mode {network.get('mode', 'Unrestricted')}"
        yield Finding(
            f"{pointer}/box/network/hosts", Reason.InvalidCombination, message, "Use mode: Restricted, or remove hosts"
        )


def _match(spec: Spec) -> Iterator[Finding]:
    match = spec.get("match") or {}
    for name in ("namespaceSelector", "jobSelector"):
        selector = match.get(name) or {}
        for index, one in enumerate(selector.get("matchExpressions", ())):
            yield from _requirement(one, f"/spec/match/{name}/matchExpressions/{index}")
    yield from _namespaces(match.get("namespaceSelector") or {})


def _requirement(one: Spec, pointer: str) -> Iterator[Finding]:
    """Source: Kubernetes' LabelSelectorRequirement."""
    values = one.get("values", ())
    if one["operator"] in ("In", "NotIn"):
        if not values:
            yield Finding(
                f"{pointer}/values",
                Reason.InvalidCombination,
                f"{one['operator']} compares with values, and there are none",
                "Add at least one",
            )
    elif values:
        message = f"{one['operator']} asks for the label alone, so values mean nothing"
        yield Finding(f"{pointer}/values", Reason.InvalidCombination, message, "Remove them, or use In or NotIn")


def _namespaces(selector: Spec) -> Iterator[Finding]:
    """Only one label of namespaces is known here; a selector by another would bind nothing, or everything, without anybody noticing."""
    pointer = "/spec/match/namespaceSelector"
    named = [(f"{pointer}/matchLabels", key) for key in selector.get("matchLabels") or {}]
    named += [
        (f"{pointer}/matchExpressions/{index}/key", one["key"])
        for index, one in enumerate(selector.get("matchExpressions", ()))
    ]
    for place, key in named:
        if key != NAMESPACE_LABEL:
            message = f"{shown(key)} is not known of namespaces here"
            yield Finding(place, Reason.InvalidValue, message, f"Select them by {NAMESPACE_LABEL}, which is their name")
