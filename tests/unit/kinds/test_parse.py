"""Files to resources and errors: who a document is, what belongs to us, and that nothing is lost on the way."""

import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.kinds import schemas, verdict
from controller.kinds.catalog import KINDS, schema_file
from controller.kinds.parse import Reason, parse_file
from tests.builders import bare, document, job, parsed, pool, resource, written
from tests.unit.kinds.strategies import damaged, valid

FILE_KINDS = [kind.name for kind in KINDS.values() if kind.verb is None]


def test_a_valid_document_becomes_a_resource_with_all_that_others_need() -> None:
    """Kind, namespace, name, labels, annotations, the document itself, where it stands."""
    wanted = job("nightly", metadata={"namespace": "team-a", "labels": {"a": "b"}, "annotations": {"c.example/d": "e"}})
    file = parse_file("jobs/a.yaml", b"# a comment\n---\n" + written(wanted))
    (found,) = file.resources
    assert (found.api_version, found.kind, found.namespace, found.name) == (
        "jobwarden.dev/v1alpha1",
        "ScheduledJob",
        "team-a",
        "nightly",
    )
    assert (found.labels, found.annotations) == ({"a": "b"}, {"c.example/d": "e"})
    assert (found.document, found.path, found.line) == (wanted, "jobs/a.yaml", 3)


def test_the_spec_digest_changes_with_the_spec_and_with_nothing_else() -> None:
    """Order of keys, labels and comments are not the spec."""
    plain = resource(job("a", timeout="5m", priority=1))
    same = resource(job("b", priority=1, timeout="5m", metadata={"labels": {"x": "y"}}))
    other = resource(job("a", timeout="5m", priority=2))
    assert plain.spec_digest == same.spec_digest != other.spec_digest
    assert plain.spec_digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("written_namespace", "forced", "effective"),
    [(None, None, "default"), ("team-a", None, "team-a"), (None, "forced", "forced"), ("team-a", "forced", "forced")],
)
def test_the_namespace_is_forced_or_written_or_default(
    written_namespace: str | None, forced: str | None, effective: str
) -> None:
    """In that order; errors name the same one."""
    metadata = {"namespace": written_namespace} if written_namespace else {}
    file = parse_file(
        "f.yaml", written(job("good", metadata=metadata), job("bad", suspend=3, metadata=metadata)), namespace=forced
    )
    assert [found.namespace for found in file.resources] == [effective]
    assert [error.namespace for error in file.errors] == [effective]


def test_cluster_kinds_have_no_namespace_even_when_one_is_forced() -> None:
    """A forced namespace is for what lives in namespaces."""
    pool_ = document("ClusterResourcePool", "big", {"slots": 3})
    assert [found.namespace for found in parse_file("f.yaml", written(pool_), namespace="forced").resources] == [None]


def test_a_kind_that_the_source_may_not_contain_is_refused_and_named() -> None:
    """The identity stays known, so an earlier version from this source is not pruned by accident."""
    file = parse_file("f.yaml", written(job("a"), pool("p")), allowed_kinds={"ScheduledJob"})
    assert [found.name for found in file.resources] == ["a"]
    (error,) = file.errors
    assert (error.reason, error.kind, error.name, file.complete) == (Reason.NotAllowed, "ResourcePool", "p", True)


def test_a_bad_document_costs_only_itself() -> None:
    """Its neighbours come through; it is named, so that its last good version is kept."""
    file = parsed(job("first"), job("broken", timeout=5), pool("last"))
    assert [found.name for found in file.resources] == ["first", "last"]
    assert [(error.kind, error.namespace, error.name) for error in file.errors] == [
        ("ScheduledJob", "default", "broken")
    ]
    assert file.complete


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"name": None},
        {"name": 5},
        {"name": "Not_A_Name"},
        {"name": ""},
        [],
        "name",
        {"name": ["a"]},
        {"name": "a\nb"},
    ],
)
def test_a_document_of_ours_without_a_usable_name_makes_the_file_incomplete(metadata: object) -> None:
    """It may be a resource that ran until its name was broken, so nothing may be pruned."""
    bad = {**job("x"), "metadata": metadata}
    file = parsed(job("good"), bad)
    assert [found.name for found in file.resources] == ["good"]
    assert file.errors
    assert not file.complete


def test_a_file_that_is_not_yaml_gives_one_error_and_no_resources() -> None:
    """Half a file may mean anything, so the good half is not applied either."""
    file = parse_file("f.yaml", written(job("good")) + b"---\na: [\n")
    assert file.resources == ()
    assert [error.reason for error in file.errors] == [Reason.SyntaxError]
    assert not file.complete


def test_documents_of_others_are_skipped_and_counted() -> None:
    """A ConfigMap, a values file and a list are none of our business, even when they are bad YAML values."""
    data = b"apiVersion: v1\nkind: ConfigMap\na: 1\na: 2\n---\nreplicas: 3\n---\n- x\n---\ntext\n"
    file = parse_file("f.yaml", data)
    assert (file.resources, file.errors, file.complete, file.skipped) == ((), (), True, 4)


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        ({"apiVersion": "jobwarden.io/v1alpha1", "kind": "ScheduledJob"}, Reason.InvalidValue),
        ({"apiVersion": "jobwarden.dev/v2", "kind": "ScheduledJob"}, Reason.UnknownVersion),
        ({"apiVersion": "jobwarden.dev/v1alpha1", "kind": "Schedule"}, Reason.UnknownKind),
        ({"apiVersion": "agents.jobwarden.dev/v1alpha1", "kind": "Agent"}, Reason.NotSupported),
        ({"kind": "ScheduledJob"}, Reason.Required),
        ({"kind": "scheduledjob"}, Reason.Required),
        ({"apiVersion": "jobwarden.dev/v1alpha1"}, Reason.Required),
        ({"metadata": {"name": "a"}, "spec": {}}, Reason.Required),
        ({"apiVersion": "jobwarden.dev/v1alpha1", "kind": "RunRequest"}, Reason.NotAllowed),
        ({"apiVersion": "jobwarden.dev/v1alpha1", "kind": ["x"]}, Reason.UnknownKind),
        ({"apiVersion": "jobwarden.dev/v1alpha1", "kind": {}}, Reason.UnknownKind),
        ({"apiVersion": 1, "kind": "Deployment"}, None),
        ({"apiVersion": "batch/v1", "kind": "CronJob"}, None),
        ({"apiVersion": "example.com/v1", "kind": "Approval"}, None),
        ({"kind": "Kustomization"}, None),
        ({"kind": 5}, None),
    ],
)
def test_what_is_meant_for_us_is_an_error_and_what_is_not_is_skipped(
    stranger: dict[str, object], reason: Reason | None
) -> None:
    """The table in `admission`, row by row."""
    file = parsed(stranger)
    assert [error.reason for error in file.errors] == ([reason] if reason else [])
    assert file.skipped == (0 if reason else 1)


def test_kinds_that_verbs_make_are_refused_with_the_verb() -> None:
    """RunRequest and Approval do not live in files."""
    asked, decided = (parsed(document(kind, "x", {})).errors[0] for kind in ("RunRequest", "Approval"))
    assert "jobwarden trigger" in asked.hint
    assert "jobwarden approve" in decided.hint


def test_items_of_lists_are_documents_with_pointers_and_lines_of_their_own() -> None:
    """As kubectl reads `kind: List`, and as `jobwarden get -o yaml` writes it."""
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [job("a"), {"kind": "List", "items": [job("b", timeout=5)]}, {"x": 1}],
    }
    file = parsed(listed)
    assert [(found.name, found.line) for found in file.resources] == [("a", 4)]
    assert [(error.name, error.pointer) for error in file.errors] == [("b", "/items/1/items/0/spec/timeout")]
    assert (file.complete, file.skipped) == (True, 1)


def test_null_means_absent_as_it_does_for_an_api_server() -> None:
    """A field with nothing behind it is as good as not written, and is not kept."""
    found = resource(bare("a", suspend=None, shell={"script": "true", "shell": None}, env=None))
    assert found.document["spec"] == {"shell": {"script": "true"}}


def test_errors_come_in_the_order_of_their_lines() -> None:
    """People read files from the top."""
    file = parse_file(
        "f.yaml",
        b"kind: ScheduledJob\napiVersion: jobwarden.dev/v1alpha1\nspec: {exec: 1, timeout: 1, zzz: 1, aaa: 1}\nmetadata: {}\n",
    )
    places = [(error.line, error.column) for error in file.errors]
    assert len(places) == 5
    assert places == sorted(places)


def test_a_document_with_very_many_errors_gives_a_bounded_number() -> None:
    """Nobody reads more, and a page of errors must not cost minutes."""
    env = [{"name": f"1-{number}", "nope": number} for number in range(128)]
    assert 10 < len(parsed(job("a", env=env)).errors) <= 150


@pytest.mark.parametrize(
    ("error_of", "text"),
    [
        (
            job("a", timeout=5),
            "jobs.yaml:8:3: ScheduledJob/default/a: /spec/timeout: a number stands where a duration belongs. Write whole numbers",
        ),
        (
            document("ClusterResourcePool", "p", {}),
            "jobs.yaml:5:1: ClusterResourcePool/p: /spec/slots: the field slots is missing. How many slots",
        ),
    ],
)
def test_an_error_reads_as_place_resource_pointer_message_hint(error_of: dict[str, object], text: str) -> None:
    """One line that an editor can jump to."""
    (error,) = parsed(error_of).errors
    assert str(error).startswith(text)


@pytest.mark.parametrize("kind", FILE_KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_the_schema_allows_is_refused_by_nothing_but_the_rules(kind: str, data: st.DataObject) -> None:
    """A generated document survives writing and reading; only rules between fields may object, each at a place that exists."""
    wanted = {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "a"},
        "spec": data.draw(valid(schemas.load(schema_file(kind))["properties"]["spec"])),
    }
    file = parse_file("f.json", json.dumps(wanted).encode())
    for error in file.errors:
        assert error.reason in (Reason.InvalidCombination, Reason.Duplicate, Reason.InvalidValue, Reason.OutOfRange), (
            str(error)
        )
    if not file.errors:
        assert [found.document for found in file.resources] == [wanted]


CORPUS = [
    *(
        job(
            "a",
            schedule={"cron": "0 2 * * *"},
            env=[{"name": "A", "value": "x"}],
            retry={"limit": 2, "rules": [{"action": "Fail"}]},
        )
        for _ in (1,)
    ),
    bare("b", exec={"command": ["x"]}, trigger={"after": [{"job": "a"}]}, parameters=[{"name": "p", "pattern": "a+"}]),
    bare(
        "c",
        watchdog={"job": "a", "maxDuration": "1h"},
        notifications=[{"events": ["Failed"], "targetRef": {"name": "t"}}],
    ),
    document(
        "NotificationTarget",
        "t",
        {
            "webhook": {
                "url": "https://example.com",
                "headersFrom": [{"name": "a", "valueFrom": {"envRef": {"name": "A"}}}],
            }
        },
    ),
    document("ClusterResourcePool", "p", {"slots": 1, "allowedNamespaces": ["*"]}),
]


@given(st.sampled_from(CORPUS).flatmap(damaged))
@settings(max_examples=200, deadline=None)
def test_no_damage_raises_and_every_refusal_has_words(value: object) -> None:
    """Mutated documents are resources, errors or none of our business; the two validators always agree."""
    data = yaml.safe_dump(value, allow_unicode=True).encode()
    file = parse_file("f.yaml", data)
    assert len(file.resources) + bool(file.errors) + bool(file.skipped) >= (value is not None)
    for error in file.errors:
        assert error.message
        assert "does not match the schema of" not in error.message
        assert error.line >= 1
        assert error.column >= 1
        assert str(error).isprintable()


@given(st.sampled_from(CORPUS).flatmap(damaged))
@settings(max_examples=100, deadline=None)
def test_the_two_validators_agree_on_damaged_documents(value: object) -> None:
    """Quick and slow say the same about anything, not only about what was thought of."""
    for kind in FILE_KINDS:
        name = schema_file(kind)
        assert verdict._quick(name).is_valid(value) == verdict._slow(name).is_valid(value)


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    """A folder may contain anything."""
    parse_file("f.yaml", data)


def test_reading_manifests_imports_neither_pydantic_nor_jsonschema() -> None:
    """They cost more start-up time than everything else here; good documents need neither."""
    code = (
        "import sys; from controller.kinds.parse import parse_file; from controller.domain import resolve; from controller.kinds import digests, configuration\n"
        f"file = parse_file('f', {written(job('a'))!r}); assert file.resources\n"
        "slow = [name for name in ('pydantic', 'jsonschema') if name in sys.modules]; assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
