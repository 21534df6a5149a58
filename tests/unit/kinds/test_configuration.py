"""jobwarden.yaml as a record, or everything that is wrong with it."""

from datetime import timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.kinds import configuration, schemas
from controller.kinds.configuration import Configuration, parse_configuration
from controller.kinds.records import Reason
from tests.unit.kinds.strategies import damaged, valid

HEAD = {"apiVersion": "jobwarden.dev/v1alpha1", "kind": "ControllerConfiguration"}
PROXY = {"host": "proxy.jobwarden.svc", "namespace": "jobwarden", "podLabels": {"app": "proxy"}, "keyFile": "proxy.key"}
FULL = {
    **HEAD,
    "sources": [
        {
            "name": "here",
            "directory": {"path": "jobs", "rescanInterval": "5m"},
            "namespace": "team-a",
            "allowedKinds": ["ScheduledJob"],
        },
        {
            "name": "there",
            "git": {
                "url": "git@example.com:jobs.git",
                "branch": "main",
                "path": "jobs",
                "interval": "30s",
                "verifyCommit": True,
            },
        },
    ],
    "db": "postgresql://jobwarden@db/jobwarden",
    "stateDir": "/var/lib/jobwarden",
    "logDir": "/var/log/jobwarden",
    "statusDir": "status",
    "metricsAddr": "127.0.0.1:9090",
    "heartbeatURL": "https://example.com/ping",
    "limits": {"starts": 4, "running": 16},
    "settings": {
        "allowEnv": ["HOME"],
        "allowFiles": ["/run/secrets"],
        "defaultNotificationTarget": {"name": "oncall", "kind": "ClusterNotificationTarget"},
        "runLog": {"limit": "1Gi"},
        "pods": {"networkPoliciesEnforced": True, "egressProxy": {**PROXY, "port": 8080}},
    },
}


def parsed(*documents: Any) -> configuration.ParsedConfiguration:
    return parse_configuration("jobwarden.yaml", yaml.safe_dump_all(documents).encode())


def test_a_full_configuration_becomes_typed_values() -> None:
    """Durations, sizes and sets are parsed; paths stay as written."""
    found = parsed(FULL).configuration
    assert found is not None
    here, there = found.sources
    assert here.directory == configuration.DirectorySource("jobs", timedelta(minutes=5))
    assert (here.namespace, here.allowed_kinds) == ("team-a", frozenset({"ScheduledJob"}))
    assert there.git == configuration.GitSource(
        "git@example.com:jobs.git", branch="main", path="jobs", interval=timedelta(seconds=30), verify_commit=True
    )
    assert (found.heartbeat_url, found.limits.starts, found.settings.run_log.limit) == (
        "https://example.com/ping",
        4,
        1 << 30,
    )
    assert found.settings.pods.egress_proxy == configuration.EgressProxy(
        host="proxy.jobwarden.svc", port=8080, namespace="jobwarden", pod_labels={"app": "proxy"}, key_file="proxy.key"
    )
    assert found.settings.default_notification_target == configuration.TargetRef("oncall", "ClusterNotificationTarget")


def test_an_empty_configuration_is_all_defaults() -> None:
    """Two lines are enough."""
    assert parsed(HEAD).configuration == Configuration()


def test_defaults_of_records_are_those_of_the_schema() -> None:
    """Each default is written twice, for users and for us; a document with all of them is the same as one with none."""
    schema = schemas.load(configuration.SCHEMA)["properties"]

    def defaults(node: dict[str, Any]) -> dict[str, Any]:
        return {name: inner["default"] for name, inner in node["properties"].items() if "default" in inner}

    source = schema["sources"]["items"]["properties"]
    git = {"url": "x", **defaults(source["git"])}
    directory = {"path": "x", **defaults(source["directory"])}
    written = {
        **HEAD,
        "sources": [{"name": "a", "git": git}, {"name": "b", "directory": directory}],
        "limits": defaults(schema["limits"]),
        "settings": {part: defaults(schema["settings"]["properties"][part]) for part in ("runLog", "evidence")},
    }
    bare = {**HEAD, "sources": [{"name": "a", "git": {"url": "x"}}, {"name": "b", "directory": {"path": "x"}}]}
    assert git.keys() >= {"interval", "timeout", "verifyCommit"}
    assert parsed(written) == parsed(bare)
    assert parsed(bare).errors == ()


@pytest.mark.parametrize(
    ("change", "reason", "pointer"),
    [
        ({"sorces": []}, Reason.UnknownField, "/sorces"),
        ({"kind": "Configuration"}, Reason.InvalidValue, "/kind"),
        ({"limits": {"starts": 0}}, Reason.OutOfRange, "/limits/starts"),
        ({"metricsAddr": "9090"}, Reason.InvalidValue, "/metricsAddr"),
        ({"metricsAddr": ":99999"}, Reason.OutOfRange, "/metricsAddr"),
        ({"db": "mysql://x"}, Reason.InvalidValue, "/db"),
        ({"sources": [{"name": "a"}]}, Reason.OneOf, "/sources/0"),
        ({"sources": [{"name": "a", "git": {"url": "x", "branch": "b", "tag": "t"}}]}, Reason.OneOf, "/sources/0/git"),
        ({"sources": [{"name": "a", "git": {"url": "--upload-pack=x"}}]}, Reason.InvalidValue, "/sources/0/git/url"),
        (
            {"sources": [{"name": "a", "git": {"url": "x", "branch": "-b"}}]},
            Reason.InvalidValue,
            "/sources/0/git/branch",
        ),
        (
            {"sources": [{"name": "a", "git": {"url": "https://u:p@example.com/x"}}]},
            Reason.InvalidValue,
            "/sources/0/git/url",
        ),
        (
            {"sources": [{"name": n, "directory": {"path": n}} for n in ("a", "b", "a")]},
            Reason.Duplicate,
            "/sources/2/name",
        ),
        (
            {"settings": {"pods": {"egressProxy": {**PROXY, "podLabels": {}}}}},
            Reason.OutOfRange,
            "/settings/pods/egressProxy/podLabels",
        ),
        (
            {"settings": {"pods": {"egressProxy": {**PROXY, "host": "http://proxy"}}}},
            Reason.InvalidValue,
            "/settings/pods/egressProxy/host",
        ),
        (
            {"settings": {"pods": {"egressProxy": {name: PROXY[name] for name in PROXY if name != "keyFile"}}}},
            Reason.Required,
            "/settings/pods/egressProxy/keyFile",
        ),
        (
            {"sources": [{"name": "a", "directory": {"path": "x"}, "allowedKinds": ["RunRequest"]}]},
            Reason.InvalidValue,
            "/sources/0/allowedKinds/0",
        ),
    ],
)
def test_what_is_wrong_is_an_error_with_its_place(change: dict[str, Any], reason: Reason, pointer: str) -> None:
    """And there is no configuration then."""
    found = parsed({**HEAD, **change})
    assert found.configuration is None
    assert [(error.reason, error.pointer) for error in found.errors] == [(reason, pointer)]
    assert all(error.line > 0 and error.kind == "ControllerConfiguration" for error in found.errors)


@pytest.mark.parametrize("data", [b"", b"a: [", b"a: 1\na: 2", b"{}\n---\n{}", b"- x", b"text", b"\xff"])
def test_what_is_no_configuration_is_an_error(data: bytes) -> None:
    """Empty, broken, several documents, no mapping."""
    found = parse_configuration("jobwarden.yaml", data)
    assert found.configuration is None
    assert found.errors


@given(st.one_of(valid(schemas.load(configuration.SCHEMA)), st.just(FULL).flatmap(damaged)))
@settings(max_examples=150, deadline=None)
def test_any_document_gives_a_configuration_or_errors(document: Any) -> None:
    """Valid, random and damaged ones; nothing raises."""
    found = parsed(document)
    assert (found.configuration is None) == bool(found.errors)
