"""What the command shows, asked of a controller and of the database alone."""

import json
from datetime import timedelta
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from controller.domain.job import JobSpec, Parent, ShellTarget, Trigger
from controller.store import schema
from tests.integration.cli.place import HOURLY, Place

METADATA = {
    "type": "object",
    "required": ["name", "namespace", "creationTimestamp"],
    "properties": {"creationTimestamp": {"type": "string", "pattern": "Z$"}},
}
RUN = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec", "status"],
    "properties": {
        "apiVersion": {"const": "jobwarden.dev/v1alpha1"},
        "kind": {"const": "Run"},
        "metadata": METADATA,
        "spec": {
            "required": ["job", "cause", "scheduledFor", "attempt", "root", "retryOf", "triggeredBy", "parameters"],
            "properties": {
                "job": {"type": "string"},
                "cause": {"enum": ["Schedule", "Manual", "Chain", "Retry", "Replay"]},
                "attempt": {"type": "integer"},
                "triggeredBy": {"type": "array"},
                "parameters": {"type": "object"},
            },
        },
        "status": {
            "required": [
                "state",
                "reason",
                "message",
                "startedAt",
                "finishedAt",
                "exitCode",
                "signal",
                "outputs",
                "output",
            ],
            "properties": {
                "output": {"required": ["stdout", "stderr", "bytes", "truncated"], "maxProperties": 4},
            },
        },
    },
}
DISPATCH = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec", "status"],
    "properties": {
        "kind": {"const": "Dispatch"},
        "metadata": METADATA,
        "spec": {
            "required": [
                *("job", "cause", "scheduledFor", "notBefore", "attempt", "root", "retryOf", "triggeredBy"),
                *("parameters", "requestedBy"),
            ]
        },
        "status": {"required": ["state", "reason", "message", "run", "approval"]},
    },
}
JOB = {
    "type": "object",
    "properties": {
        "kind": {"const": "ScheduledJob"},
        "metadata": {**METADATA, "required": [*METADATA["required"], "uid", "generation"]},
        "spec": {"const": {"schedule": {"cron": "0 * * * *"}, "shell": {"script": "true"}}},
        "status": {"required": ["conditions", "ready", "observedGeneration", "queued", "recentRuns", "activeRuns"]},
    },
}


def asked(place: Place, *arguments: str) -> Any:
    done = place.run(*arguments, "-o", "json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def listed(item: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "items"],
        "properties": {"kind": {"const": kind}, "items": {"type": "array", "items": item, "minItems": 1}},
    }


def test_things_and_lists_of_them_have_the_shapes_that_scripts_rely_on(either: Place) -> None:
    """One object for a name, a list otherwise, resources as they were written."""
    number = either.job("work", labels={"team": "data"})
    either.ran("work-1", "work", number, stdout=b"caf\xc3\xa9 \xff", output_bytes=6, outputs=b'{"k":"v"}')
    either.dispatch("d-1", "work", number, state="Pending", reason="PoolFull")
    for noun, name, item, kind in (
        ("jobs", "work", JOB, "ScheduledJobList"),
        ("runs", "work-1", RUN, "RunList"),
        ("queue", "d-1", DISPATCH, "DispatchList"),
    ):
        jsonschema.validate(asked(either, "get", noun), listed(item, kind))
        jsonschema.validate(asked(either, "get", noun, name), item)
    run = asked(either, "get", "run", "work-1")
    assert run["status"]["output"] == {"stdout": "café �", "stderr": "", "bytes": 6, "truncated": False}
    assert run["status"]["outputs"] == {"k": "v"}


def test_the_table_of_jobs_is_one_line_a_job_with_the_columns_of_the_kind(either: Place) -> None:
    """As `kubectl get` would print them."""
    either.job("fine", last_run="fine-1", last_state="Succeeded", last_finished_at=either.now)
    either.job("held", hold_reason="r", hold_by="ann", hold_since=either.now)
    either.job("paused", spec=msgspec.structs.replace(HOURLY, suspend=True))
    either.job("wrong", rejection=b'{"message":"m"}')
    lines = [line.split() for line in either.run("get", "jobs").stdout.splitlines()]
    assert lines[0] == ["NAME", "SCHEDULE", "TARGET", "SUSPEND", "READY", "LAST", "NEXT", "AGE"]
    cells = {line[0]: line[6:-2] for line in lines[1:]}
    assert cells == {
        "fine": ["shell", "False", "True", "Succeeded"],
        "held": ["shell", "Held", "True", "<none>"],
        "paused": ["shell", "True", "True", "<none>"],
        "wrong": ["shell", "False", "False", "<none>"],
    }
    wide = either.run("get", "jobs", "wrong", "-o", "wide").stdout
    assert "Invalid" in wide
    assert "manifests" in wide


def test_the_command_as_a_process_says_the_same(either: Place) -> None:
    """Imported from nothing, with nothing but its environment."""
    either.job("a")
    for arguments in (
        ("get", "jobs", "-o", "name"),
        ("get", "jobs", "-o", "json"),
        ("get", "jobs", "b"),
        ("explain", "a"),
    ):
        inside, outside = either.run(*arguments), either.process(*arguments)
        assert (inside.returncode, inside.stderr) == (outside.returncode, outside.stderr)
        assert inside.stdout.splitlines()[:6] == outside.stdout.splitlines()[:6]


def test_the_same_list_is_given_as_names_and_as_yaml(either: Place) -> None:
    """Names can be handed to other verbs as they are."""
    either.job("a")
    assert either.run("get", "job", "-o", "name").stdout == "job/a\n"
    assert yaml.safe_load(either.run("get", "jobs", "-o", "yaml").stdout)["items"][0]["metadata"]["name"] == "a"
    assert either.run("describe", "job", "job/a").returncode == 0


def test_namespaces_divide_and_all_of_them_are_shown_with_a_column(either: Place) -> None:
    """The default namespace unless something else is said, before or after the verb."""
    either.job("a")
    either.job("b", namespace="team")
    assert either.run("get", "jobs", "-o", "name").stdout == "job/a\n"
    assert either.run("get", "jobs", "-n", "team", "-o", "name").stdout == "job/b\n"
    assert either.run("-n", "team", "get", "jobs", "-o", "name").stdout == "job/b\n"
    everywhere = either.run("get", "jobs", "-A").stdout.splitlines()
    assert [line.split()[:2] for line in everywhere] == [["NAMESPACE", "NAME"], ["default", "a"], ["team", "b"]]
    nothing = either.run("get", "jobs", "-n", "empty")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "No jobs found in the namespace empty.\n")


def test_labels_select_jobs_and_what_belongs_to_them(either: Place) -> None:
    """A run has the labels of its job."""
    a, b = either.job("a", labels={"team": "x"}), either.job("b", labels={"team": "y"})
    either.ran("a-1", "a", a)
    either.ran("b-1", "b", b)
    assert either.run("get", "jobs", "-l", "team=x", "-o", "name").stdout == "job/a\n"
    assert either.run("get", "runs", "-l", "team in (y,z)", "-o", "name").stdout == "run/b-1\n"
    assert [one["metadata"]["name"] for one in asked(either, "get", "jobs", "-l", "!absent")["items"]] == ["a", "b"]
    wrong = either.run("get", "jobs", "-l", "team in x")
    assert (wrong.returncode, "makes no sense" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("noun", ["jobs", "runs", "queue", "approvals", "pools", "targets", "sources"])
def test_a_name_that_is_not_there_is_1_and_the_nearest_is_suggested(either: Place, noun: str) -> None:
    """For every kind of thing, as a table and as JSON."""
    number = either.job("nightly-backup")
    either.ran("nightly-backup-run", "nightly-backup", number)
    for form in ("table", "json", "name"):
        answer = either.run("get", noun, "nightly-backpu", "-o", form)
        assert answer.returncode == 1
        assert "'nightly-backpu'" in answer.stderr
        assert "hint: " in answer.stderr
    if noun == "jobs":
        assert "did you mean 'nightly-backup'?" in answer.stderr


def test_a_job_in_another_namespace_is_pointed_at(either: Place) -> None:
    """Forgetting `-n` is the commonest mistake."""
    either.job("deploy", namespace="team")
    answer = either.run("explain", "deploy")
    assert answer.returncode == 1
    assert "add -n team" in answer.stderr


def test_pools_targets_and_sources_show_how_they_stand(either: Place) -> None:
    """Held and waiting; ready; revision and who serves it."""
    pool = either.resource("ResourcePool", "narrow", {"slots": 2}, {})
    either.insert(schema.pools, {"id": pool, "namespace": "default", "name": "narrow", "slots": 2, "held": 1})
    target = either.resource("NotificationTarget", "team", {"webhook": {"url": "http://h"}}, {})
    either.insert(schema.targets, {"id": target, "namespace": "default", "name": "team", "spec": b"{}"})
    number = either.job("work")
    either.ran("work-1", "work", number, state="Running", finished_at=None)
    either.insert(schema.pool_holds, {"run": "work-1", "pool": pool, "slots": 1})
    either.dispatch("d-9", "work", number)
    either.insert(schema.waits, {"dispatch": "d-9", "key": "pool:default/narrow"})
    status = asked(either, "get", "pools", "narrow")["status"]
    assert (status["held"], status["waiting"], status["holders"][0]["run"]) == (1, 1, "work-1")
    assert "narrow   ResourcePool   2       1      1" in either.run("get", "pools").stdout
    assert asked(either, "get", "targets", "team")["spec"] == {"webhook": {"url": "http://h"}}
    source = asked(either, "get", "sources", "manifests")
    assert (source["status"]["ready"], source["status"]["resources"]) == ("True", 3)
    assert "Directory" in either.run("get", "sources").stdout


def test_the_queue_shows_what_waits_and_with_all_what_has_ended(either: Place) -> None:
    """Ended dispatches are history, and still there for who asks."""
    number = either.job("work")
    either.dispatch("d-waits", "work", number)
    either.dispatch("d-skipped", "work", number, state="Skipped", reason="Forbid", ended_at=either.now)
    assert either.run("get", "queue", "-o", "name").stdout == "dispatch/d-waits\n"
    assert len(asked(either, "get", "queue", "--all")["items"]) == 2
    assert asked(either, "get", "queue", "d-skipped")["status"]["reason"] == "Forbid"


def test_history_has_runs_and_dispatches_that_came_to_nothing_newest_first(either: Place) -> None:
    """A job that has done nothing says so; one that never was is an error."""
    number = either.job("work")
    either.job("fresh")
    either.ran("work-1", "work", number)
    either.dispatch(
        "d-s", "work", number, state="Skipped", reason="Forbid", created_at=either.now + timedelta(seconds=1)
    )
    items = asked(either, "history", "work")["items"]
    assert [one["metadata"]["name"] for one in items] == ["d-s", "work-1"]
    table = either.run("history", "work").stdout.splitlines()
    assert table[0].split() == ["AGE", "STATE", "REASON", "CAUSE", "ATTEMPT", "DURATION", "NAME"]
    assert "nothing yet" in either.run("history", "fresh").stderr
    assert either.run("history", "stranger").returncode == 1


def test_a_chain_is_shown_as_one_tree_by_any_of_its_runs(either: Place) -> None:
    """Root, child, retry, and what still waits."""
    number = either.job("work")
    either.ran("root-1", "work", number)
    either.ran(
        "child-1", "child", 99, root="root-1", parents=b'["root-1"]', cause="Chain", state="Failed", reason="ExitCode"
    )
    either.ran("child-2", "child", 99, root="root-1", retry_of="child-1", attempt=2, cause="Retry")
    either.dispatch("d-w", "last", 98, root="root-1", parents=b'["child-2"]', cause="Chain")
    drawn = either.run("tree", "child-2").stdout
    assert drawn.splitlines() == [
        "root-1: Running, 3 runs",
        "└─ root-1  Succeeded  Schedule",
        "   └─ child-1  Failed (ExitCode)  Chain",
        "      └─ child-2  Succeeded  Retry, attempt 2",
        "         └─ last (waits)  Pending  Chain",
    ]
    assert asked(either, "tree", "root-1")["status"]["runs"] == 3


def test_explain_accounts_for_instants_and_names_the_next(either: Place) -> None:
    """What ran, what was skipped, a range that was missed, and what comes."""
    number = either.job("work")
    either.ran("work-1", "work", number, scheduled_for=either.now - timedelta(hours=1))
    gone = either.now - timedelta(hours=9)
    either.dispatch("d-m", "work", number, cause="Schedule", state="Missed", reason="NotCaughtUp", scheduled_for=gone, through=gone + timedelta(hours=7), instants=8)  # fmt: skip
    status = asked(either, "explain", "work")["status"]
    assert len(status["next"]) == 5
    assert [(one["state"], one["reason"], one["count"]) for one in status["recent"]] == [
        ("Done", None, 1),
        ("Missed", "NotCaughtUp", 8),
    ]
    text = either.run("explain", "work").stdout
    assert "at least 8 instants" in text
    assert "It ran as work-1 (Succeeded): its instant had come." in text


def test_describe_shows_everything_around_a_thing(either: Place) -> None:
    """Conditions, next and recent instants, requests; a problem of a newer version with its place."""
    trigger = JobSpec(target=ShellTarget(script="true"), trigger=Trigger(after=(Parent("first"),)))
    rejection = b'[{"file":"a.yaml","line":3,"reason":"WrongType","message":"no number","hint":"write one"}]'
    number = either.job("work", spec=trigger, rejection=rejection)
    either.ran("work-1", "work", number, stderr=b"boom\n", output_bytes=5)
    either.insert(schema.audit, {"at": either.now, "actor": "ann", "verb": "hold", "namespace": "default", "subject": "work", "detail": ""})  # fmt: skip
    text = either.run("describe", "job", "work").stdout
    for words in (
        "Ready",
        "Stalled",
        "Problem: a.yaml:3: no number",
        "  hint: write one",
        "It runs after first",
        "ann",
        "script: 'true'",
    ):
        assert words in text, words
    run = either.run("describe", "run", "work-1").stdout
    assert "  boom" in run
    assert either.run("describe", "work").stdout == text
    assert either.run("describe", "source", "manifests").returncode == 0
    assert either.run("describe", "job", "stranger").returncode == 1


def test_a_list_longer_than_a_page_is_given_whole_and_in_order(either: Place) -> None:
    """Pages are how it travels, not what one sees; `--limit` cuts it."""
    number = either.job("work")
    base = {"job_id": number, "job_uid": "u", "namespace": "default", "job": "work", "cause": "Schedule", "state": "Succeeded", "exclusive": False, "rerun": False, "attempt": 1, "scheduled_for": either.now}  # fmt: skip
    rows = [
        {
            **base,
            "name": f"work-{n:04}",
            "dispatch": f"d{n}",
            "root": f"work-{n:04}",
            "created_at": either.now + timedelta(seconds=n // 3),
        }
        for n in range(1203)
    ]
    either.insert(schema.runs, *rows)
    expected = [f"work-{n:04}" for n in range(1202, -1, -1)]
    assert [one["metadata"]["name"] for one in asked(either, "get", "runs")["items"]] == expected
    assert either.run("get", "runs", "-o", "name").stdout.split() == [f"run/{name}" for name in expected]
    assert len(either.run("get", "runs", "--limit", "7", "-o", "name").stdout.split()) == 7


def test_ten_thousand_jobs_are_listed(either: Place) -> None:
    """Every one of them, in order; also as JSON."""
    document = msgspec.json.encode({"apiVersion": "v", "kind": "ScheduledJob", "metadata": {}, "spec": {}})
    either.job("aaa")
    spec = msgspec.json.encode({"target": {"type": "shell", "script": "true"}})
    names = [f"job-{n:05}" for n in range(10_000)]
    common = {"namespace": "default", "source": "manifests", "generation": 1, "created_at": either.now}
    either.insert(schema.resources, *({**common, "id": n + 10, "kind": "ScheduledJob", "name": name, "uid": name, "document": document, "digest": "d", "updated_at": either.now} for n, name in enumerate(names)))  # fmt: skip
    either.insert(schema.jobs, *({**common, "id": n + 10, "name": name, "uid": name, "spec": spec, "schedule_text": "on request", "target": "shell", "suspend": False, "fire_digest": "f", "effective_digest": "e", "anchor_at": either.now, "fired_through": either.now} for n, name in enumerate(names)))  # fmt: skip
    lines = either.run("get", "jobs").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["aaa", *names]
    assert len(asked(either, "get", "jobs")["items"]) == 10_001
