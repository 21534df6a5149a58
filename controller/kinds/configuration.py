"""Reading `jobwarden.yaml`: the ControllerConfiguration as a typed record.

The composition root asks and gets either everything or the errors. Paths are as written; the caller knows the folder that they count from.
Invariant: a record's default is the schema's; a test holds them equal.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from controller.base import durations, quantities
from controller.kinds import schemas, verdict, yaml
from controller.kinds.catalog import API_VERSION, CONFIGURATION
from controller.kinds.findings import Finding, Spec
from controller.kinds.positions import Positions
from controller.kinds.records import ManifestError, Reason
from controller.kinds.rules.lists import doubles

SCHEMA = "jobwarden.schema.json"


class _Record(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of the parts of a configuration."""


class DirectorySource(_Record, frozen=True):
    """A folder that is watched, and read anyway every `rescan_interval`."""

    path: str
    rescan_interval: timedelta = timedelta(minutes=1)


class GitSource(_Record, frozen=True):
    """A repository that is pulled; at most one of branch, tag, commit is set (none: the remote's default branch)."""

    url: str
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    path: str = ""
    interval: timedelta = timedelta(minutes=1)
    timeout: timedelta = timedelta(minutes=1)
    verify_commit: bool = False


class KubernetesSource(_Record, frozen=True):
    """Custom resources; no namespaces: all."""

    lease: str = "jobwarden"

    context: str | None = None
    namespaces: tuple[str, ...] = ()


class Source(_Record, frozen=True):
    """One place that documents come from; exactly one of directory, git, kubernetes is set. `namespace` is forced, `allowed_kinds` None allows all."""

    name: str
    directory: DirectorySource | None = None
    git: GitSource | None = None
    kubernetes: KubernetesSource | None = None
    namespace: str | None = None
    allowed_kinds: frozenset[str] | None = None


class Limits(_Record, frozen=True):
    """How many runs are being started, and how many go on, at once."""

    starts: int = 32
    running: int = 256


class TargetRef(_Record, frozen=True):
    """A notification target; `NotificationTarget` is looked up in each job's own namespace."""

    name: str
    kind: str = "NotificationTarget"


class RunLog(_Record, frozen=True):
    """`limit` is in bytes a run."""

    limit: int = 64 * 1024 * 1024


class EvidenceKept(_Record, frozen=True):
    """How long what is on record about runs is kept."""

    max_age: timedelta = timedelta(days=365)


class PodsAllow(_Record, frozen=True):
    """What Pods of jobs may have."""

    privileged: bool = False
    host_namespaces: bool = False
    host_paths: bool = False
    service_accounts: frozenset[str] = frozenset()


class EgressProxy(_Record, frozen=True, kw_only=True):
    """`jobwarden egress-proxy`, as the controller and the Pods of jobs find it; `key_file` as written."""

    host: str
    port: int = 3128
    namespace: str
    pod_labels: Mapping[str, str]
    key_file: str


class Pods(_Record, frozen=True):
    """The Pods of jobs."""

    allow: PodsAllow = PodsAllow()
    network_policies_enforced: bool = False
    fence_check_image: str | None = None
    egress_proxy: EgressProxy | None = None


class Settings(_Record, frozen=True):
    """What jobs may reach, and what they get without asking."""

    allow_env: frozenset[str] = frozenset()
    allow_files: tuple[str, ...] = ()
    default_notification_target: TargetRef | None = None
    run_log: RunLog = RunLog()
    evidence: EvidenceKept = EvidenceKept()
    executors: tuple[str, ...] = ()
    image: str | None = None
    pods: Pods = Pods()


class Configuration(_Record, frozen=True):
    """One ControllerConfiguration; None means: as the controller does by itself."""

    sources: tuple[Source, ...] = ()
    db: str | None = None
    state_dir: str | None = None
    log_dir: str | None = None
    status_dir: str | None = None
    metrics_addr: str | None = None
    history_addr: str | None = None
    history_token_file: str | None = None
    heartbeat_url: str | None = msgspec.field(default=None, name="heartbeatURL")
    limits: Limits = Limits()
    settings: Settings = Settings()


class ParsedConfiguration(msgspec.Struct, frozen=True):
    """`configuration` is None exactly when there are errors."""

    configuration: Configuration | None
    errors: tuple[ManifestError, ...] = ()


def parse_configuration(path: str, data: bytes) -> ParsedConfiguration:
    """The one ControllerConfiguration in a file; `path` is only repeated in errors. Pure; never raises."""
    stream = yaml.read(data)
    if stream.problem is not None:
        return ParsedConfiguration(None, (_yaml_error(path, stream.problem),))
    if len(stream.documents) != 1:
        message = f"the file has {len(stream.documents)} documents, and a configuration is one"
        line = stream.documents[1].line if stream.documents else 1
        hint = f"Write one document with apiVersion: {API_VERSION} and kind: {CONFIGURATION}"
        return ParsedConfiguration(None, (ManifestError(path, line, 1, Reason.InvalidValue, message, hint),))
    (document,) = stream.documents
    if document.problems:
        return ParsedConfiguration(None, tuple(_yaml_error(path, problem) for problem in document.problems))
    judged = verdict.judge(CONFIGURATION, SCHEMA, document.value)
    if findings := judged.findings or tuple(_rules(judged.document)):
        positions = Positions(stream.text, document)
        return ParsedConfiguration(None, tuple(_error(path, positions, finding) for finding in findings))
    return ParsedConfiguration(_record(judged.document))


def _rules(document: Spec) -> list[Finding]:
    sources = document.get("sources", ())
    findings = list(doubles(sources, "/sources", "source", "name"))
    for index, source in enumerate(sources):
        if _has_password(source.get("git", {}).get("url", "")):
            message = "the URL carries a password, and files carry no secrets"
            hint = "Use a credential helper or an SSH key; git finds them by itself"
            findings.append(Finding(f"/sources/{index}/git/url", Reason.InvalidValue, message, hint))
    findings.extend(
        Finding(f"/{name}", Reason.OutOfRange, "a port is at most 65535", "Write HOST:PORT")
        for name in ("metricsAddr", "historyAddr")
        if name in document and int(document[name].rpartition(":")[2]) > 65535
    )
    return findings


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False


def _record(document: Spec) -> Configuration:
    values = {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
    schema = schemas.load(SCHEMA)
    return msgspec.convert(_parsed(values, schema), Configuration)


def _parsed(value: Any, schema: Spec) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {key: _parsed(inner, properties.get(key, {})) for key, inner in value.items()}
    if isinstance(value, list):
        return [_parsed(item, schema.get("items", {})) for item in value]
    match schema.get("x-jobwarden-type"):
        case "duration":
            return durations.parse(value)
        case "quantity":
            return quantities.parse(value)
    return value


def _yaml_error(path: str, problem: yaml.Problem) -> ManifestError:
    return ManifestError(
        path, problem.line, problem.column, problem.reason, problem.message, problem.hint, kind=CONFIGURATION
    )


def _error(path: str, positions: Positions, finding: Finding) -> ManifestError:
    line, column = positions.of(finding.pointer)
    return ManifestError(
        path, line, column, finding.reason, finding.message, finding.hint, finding.pointer, kind=CONFIGURATION
    )
