"""Rules of the kinds of trust: nothing that limits a run may be said in a way that limits nothing."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from controller.base import canonical, durations, urls
from controller.kinds.findings import Finding, Spec, shown
from controller.kinds.records import Reason
from controller.kinds.rules.lists import doubles

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
MOST_SKEW = timedelta(minutes=5)
_MOST_CONFIG = 16 * 1024
_ADDRESS = "Write it as https://HOST/PATH; what it must not show belongs into headersFrom"
_LONGEST_QUESTION = timedelta(minutes=1)
_LOOK = "10s"
# With their defaults, which an API server writes into every rule.
_ESCALATION: Mapping[str, Any] = {"approvals": 1, "allowSelf": False, "timeout": "24h"}


def contract(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one TrustContract or ClusterTrustContract. Pure."""
    spec: Spec = document["spec"]
    yield from box(spec, "/spec")
    yield from _match(spec)


def identity(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one IdentityProfile. Pure."""
    yield from attested(document["spec"], "/spec")


def attested(spec: Spec, pointer: str) -> Iterator[Finding]:
    """The findings about what has to be attested of an identity, wherever it is written. Pure."""
    if "attestation" in spec and "providerRef" not in spec:
        yield Finding(
            f"{pointer}/attestation",
            Reason.InvalidCombination,
            "it is for the identity's provider to attest, and the identity has none",
            "Add providerRef, or remove attestation",
        )


def credentials(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one CredentialPolicy. Pure."""
    yield from handing_down(document["spec"], "/spec")


def handing_down(spec: Spec, pointer: str) -> Iterator[Finding]:
    """The findings about what a policy leaves for children, wherever it is written. Pure."""
    narrowed = spec.get("children", "None") == "Downscope"
    if narrowed and not spec.get("childScopes"):
        yield Finding(
            f"{pointer}/children",
            Reason.InvalidCombination,
            "Downscope leaves less, and nothing says how much",
            "Add childScopes, or use Inherit or None",
        )
    if spec.get("childScopes") and not narrowed:
        yield Finding(
            f"{pointer}/childScopes",
            Reason.InvalidCombination,
            f"childScopes narrow nothing with children: {spec.get('children', 'None')}",
            "Use children: Downscope, or remove childScopes",
        )


def given(spec: Spec) -> Iterator[Finding]:
    """The findings about what a ScheduledJob is given, as far as the document alone can tell. Pure.

    What has a trigger may be handed an identity, and what a reference leads to is not known here: those are asked when they are to run.
    """
    if "trigger" in spec or "identityRef" in spec or "providerRef" in spec.get("identity", ()):
        return
    for index, one in enumerate(spec["credentialPolicy"].get("deliver", ())):
        if "providerRef" not in one:
            yield Finding(
                f"/spec/credentialPolicy/deliver/{index}",
                Reason.InvalidCombination,
                f"the credential {one['name']} comes from the provider of the job's identity, and it has none",
                "Add providerRef here, or an identity with one",
            )


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
    if spec.get("proof"):
        yield from proof(spec["proof"], "/spec/proof", cluster=document["kind"].startswith("Cluster"))
    yield from _decision_points(spec)
    yield from _match(spec)


_NEEDED: Mapping[str, tuple[str, ...]] = {
    "JWT": ("issuer", "audience", "jwks"),
    "OIDC": ("issuer", "audience"),
    "HMAC": ("audience", "secretFrom"),
    "APIKey": ("secretFrom",),
    "MTLS": ("audience", "clientAuthorities"),
}
_USEFUL: Mapping[str, tuple[str, ...]] = {
    "issuer": ("JWT", "OIDC", "HMAC", "Plugin"),
    "audience": ("JWT", "OIDC", "HMAC", "MTLS", "Plugin"),
    "jwks": ("JWT",),
    "serverAuthorities": ("JWT", "OIDC"),
    "clientAuthorities": ("MTLS",),
    "secretFrom": ("HMAC", "APIKey"),
}
_NOT_TOGETHER = (
    ("JWT", "OIDC", "both are tokens of an issuer, and differ in where its keys come from"),
    ("HMAC", "APIKey", "who shows the key of secretFrom to one reveals it for the other"),
)


def proof(said: Spec, pointer: str, *, cluster: bool) -> Iterator[Finding]:
    """The findings about what a policy wants proved. Pure."""
    methods = said.get("methods", ())
    if "plugin" in said:
        yield from told(said["plugin"], f"{pointer}/plugin")
    for method in methods:
        for field in _NEEDED[method]:
            if field not in said:
                yield Finding(
                    f"{pointer}/methods",
                    Reason.InvalidCombination,
                    f"{method} needs {field}",
                    f"Add proof.{field}, or remove {method}",
                )
    for field, useful in _USEFUL.items():
        if field in said and not set(useful) & set(methods or ("Plugin",)):
            message = f"{field} means nothing to {', '.join(methods) or 'a plug-in'}"
            hint = (
                "Remove it, or correct methods"
                if methods
                else "Remove it; what the plug-in takes belongs into plugin.config"
            )
            yield Finding(f"{pointer}/{field}", Reason.InvalidCombination, message, hint)
    for one, other, why in _NOT_TOGETHER:
        if one in methods and other in methods:
            yield Finding(
                f"{pointer}/methods",
                Reason.InvalidCombination,
                f"{one} and {other} exclude each other: {why}",
                "Keep one, or write a policy for each",
            )
    yield from _addresses(said, pointer)
    yield from _own_secret(said, pointer, cluster=cluster)
    yield from _look(said, pointer)
    if durations.parse(said.get("clockSkew", "0s")) > MOST_SKEW:
        message = "clocks that differ by more than 5m do not tell whether a proof has expired"
        yield Finding(f"{pointer}/clockSkew", Reason.OutOfRange, message, "Use at most 5m")


def _addresses(said: Spec, pointer: str) -> Iterator[Finding]:
    """What keys are fetched from: over TLS, or on this host."""
    places = {"jwks/url": (said.get("jwks") or {}).get("url")}
    if "OIDC" in said.get("methods", ()):
        places["issuer"] = said.get("issuer")
    for field, url in places.items():
        if url is not None and (why := urls.objection(url)):
            message = f"keys cannot be fetched from there: {why}"
            yield Finding(f"{pointer}/{field}", Reason.InvalidValue, message, "Write it as https://HOST/PATH")


def _look(said: Spec, pointer: str) -> Iterator[Finding]:
    """How long a plug-in may look; an API server writes the default into every policy."""
    timeout = said.get("timeout", _LOOK)
    if "plugin" not in said and timeout != _LOOK:
        message = "timeout is for a plug-in, and methods are looked at here"
        yield Finding(f"{pointer}/timeout", Reason.InvalidCombination, message, "Remove it")
    if durations.parse(timeout) > _LONGEST_QUESTION:
        message = "a look is given up after 1m, together with the run that waits for it"
        yield Finding(f"{pointer}/timeout", Reason.OutOfRange, message, "Write 1m or less")


def _own_secret(said: Spec, pointer: str, *, cluster: bool) -> Iterator[Finding]:
    """A policy of the whole cluster is not checked with what a namespace could put in place of its secret."""
    reference = (said.get("secretFrom") or {}).get("providerRef") or {}
    if cluster and reference and reference.get("kind", "CredentialProvider") != "ClusterCredentialProvider":
        message = "a CredentialProvider is a namespace's own, and could vouch for itself"
        yield Finding(
            f"{pointer}/secretFrom/providerRef/kind",
            Reason.InvalidCombination,
            message,
            "Use kind: ClusterCredentialProvider",
        )


def _decision_points(spec: Spec) -> Iterator[Finding]:
    asked = [name for name in ("external", "subjectAccessReview") if name in spec]
    if asked and spec.get("default") == "Permit":
        message = f"default says what holds where nobody decides, and {asked[0]} always decides: no answer is a Deny"
        yield Finding("/spec/default", Reason.InvalidCombination, message, "Remove it")
    external = spec.get("external") or {}
    if "plugin" in external:
        yield from told(external["plugin"], "/spec/external/plugin")
        for field in ("caFrom", "headersFrom"):
            if external.get(field):
                message = f"{field} goes with url, and a plug-in is asked"
                hint = "Remove it; what the plug-in takes belongs into plugin.config"
                yield Finding(f"/spec/external/{field}", Reason.InvalidCombination, message, hint)
    if "url" in external and (why := urls.objection(external["url"])):
        yield Finding("/spec/external/url", Reason.InvalidValue, f"the URL cannot be asked: {why}", _ADDRESS)
    if "timeout" in external and durations.parse(external["timeout"]) > _LONGEST_QUESTION:
        message = "a question is given up after 1m, together with the run that waits for its answer"
        yield Finding("/spec/external/timeout", Reason.OutOfRange, message, "Write 1m or less")
    headers = [{"name": header["name"].lower()} for header in external.get("headersFrom", ())]
    yield from doubles(headers, "/spec/external/headersFrom", "header", "name")


def provider(document: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about one CredentialProvider or ClusterCredentialProvider. Pure."""
    if "plugin" in document["spec"]:
        yield from told(document["spec"]["plugin"], "/spec/plugin")


def told(plugin: Spec, pointer: str) -> Iterator[Finding]:
    """The findings about what a plug-in is told, wherever it is written. Pure."""
    try:
        size = len(canonical.dumps(plugin.get("config", {})))
    except ValueError as error:
        yield Finding(f"{pointer}/config", Reason.InvalidValue, str(error), "Write it as text")
        return
    if size > _MOST_CONFIG:
        message = f"config has {size} bytes as JSON"
        hint = f"Use at most {_MOST_CONFIG}; what is longer belongs where the plug-in can read it"
        yield Finding(f"{pointer}/config", Reason.OutOfRange, message, hint)


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
