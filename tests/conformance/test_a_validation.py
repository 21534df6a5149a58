"""Cases A: what a job may say. Asked of `jobwarden validate`, which points at file, line, column and field."""

import pytest

from tests.conformance.asking import assert_accepted, assert_refused, next_run_at, problems
from tests.harness import Receiver, Warden, bare, instant, job, webhook
from tests.harness.manifests import Document, document


def test_S001_a_job_without_a_timeout_is_accepted_and_one_of_zero_is_refused(warden: Warden) -> None:
    """The bound has a default, and none can be written that lets no time at all."""
    found = problems(
        warden, {"none": job("none"), "zero": job("zero", timeout="0s"), "number": job("number", timeout=0)}
    )
    assert not found["none"]
    assert "/spec/timeout" in found["zero"]
    assert "/spec/timeout" in found["number"]


def test_S004_a_job_has_exactly_one_target(warden: Warden) -> None:
    """The kind of work is the key it stands under, so it cannot contradict anything."""
    found = problems(
        warden,
        {
            "none": bare("none"),
            "two": bare("two", shell={"script": "true"}, exec={"command": ["true"]}),
            "shell": job("shell"),
            "exec": bare("exec", exec={"command": ["true"]}),
            "watchdog": bare("watchdog", watchdog={"check": {"script": "true"}}),
        },
    )
    assert [name for name, problem in found.items() if problem] == ["none", "two"]


def test_S005_a_null_character_in_a_script_is_refused(warden: Warden) -> None:
    """No shell could be given it."""
    assert_refused(warden, job("nul", "echo a\0b"), "/spec/shell/script", "control character")


def test_S005_tabs_and_newlines_in_a_script_are_accepted(warden: Warden) -> None:
    """They are how scripts are written."""
    assert_accepted(warden, job("tabs", "if true; then\n\techo a\nfi\r\n"))


def test_S011_a_notification_without_a_target_is_refused(warden: Warden) -> None:
    """Nobody could be told."""
    assert_refused(warden, job("mute", notifications=[{"events": ["Failed"]}]), "targetRef")


def test_S011_a_job_whose_notification_target_is_missing_waits_for_it(warden: Warden, receiver: Receiver) -> None:
    """The document is right; the job becomes ready by itself when the target appears, and nothing runs before."""
    notifications = [{"events": ["Failed"], "targetRef": {"name": "team"}}]
    warden.write("job", job("waits", schedule={"at": "2024-01-01T00:00:00Z"}, notifications=notifications))
    warden.start(applied=("waits",))
    ready = warden.wait_for(lambda: warden.condition("waits", "Ready"), "the condition Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReferenceNotFound")
    assert "team" in ready["message"]
    assert warden.runs("waits") == []
    warden.write("target", webhook("team", receiver.url()))
    warden.wait_for(lambda: warden.condition("waits", "Ready")["status"] == "True", "the job to be ready")
    warden.wait_run("waits", "Succeeded")


def test_S013_an_expression_that_never_fires_is_refused_with_a_hint(warden: Warden) -> None:
    """There is no sentinel: a job without a time simply has no schedule."""
    assert_refused(warden, job("never", schedule={"cron": "0 0 31 2 *"}), "/spec/schedule/cron")


def test_S014_a_schedule_is_a_cron_or_an_instant_never_both(warden: Warden) -> None:
    """A half-made change from one to the other cannot be written."""
    both = {"at": "2030-01-01T00:00:00Z", "cron": "0 0 * * *"}
    assert_refused(warden, job("both", schedule=both), "/spec/schedule")


def test_S014_a_one_shot_that_becomes_a_cron_job_gets_a_new_next_instant(warden: Warden) -> None:
    """Editing the schedule recomputes."""
    warden.write("job", job("changes", schedule={"at": "2040-06-01T12:00:00Z"}))
    warden.start(applied=("changes",))
    warden.wait_for(lambda: next_run_at(warden, "changes") == instant("2040-06-01T12:00:00Z"), "the one-shot's instant")
    warden.write("job", job("changes", schedule={"cron": "0 0 1 1 *", "startAt": "2041-05-01T00:00:00Z"}))
    warden.wait_for(lambda: next_run_at(warden, "changes") == instant("2042-01-01T00:00:00Z"), "the cron's instant")


def test_S016_only_a_known_time_zone_is_accepted(warden: Warden) -> None:
    """The zone is looked up when the document is read, not when it fires."""
    found = problems(
        warden,
        {
            "unknown": job("unknown", schedule={"cron": "0 0 * * *", "timeZone": "Not/AZone"}),
            "known": job("known", schedule={"cron": "0 0 * * *", "timeZone": "America/New_York"}),
        },
    )
    assert "/spec/schedule/timeZone" in found["unknown"]
    assert not found["known"]


@pytest.mark.parametrize(
    "trigger",
    [{"delay": "60s"}, {"if": "true"}, {"join": "All"}, {"after": []}],
    ids=["delay", "if", "join", "no-parent"],
)
def test_S017_what_belongs_to_a_chain_is_refused_without_a_parent(warden: Warden, trigger: Document) -> None:
    """Delay, condition and join live under `trigger`, and a trigger names whom it follows."""
    assert_refused(warden, job("orphan", trigger=trigger), "/spec/trigger", "after")


def test_S017_a_job_has_a_schedule_or_a_trigger_never_both(warden: Warden) -> None:
    """A root has no chain fields."""
    both = job("both", schedule={"every": "1h"}, trigger={"after": [{"job": "other"}]})
    assert_refused(warden, both, "schedule", "trigger")


def test_S019_a_child_with_an_instant_is_refused_and_told_of_the_delay(warden: Warden) -> None:
    """What its author wants is most likely a pause after the parent."""
    late = job("late", schedule={"at": "2030-01-01T00:00:00Z"}, trigger={"after": [{"job": "other"}]})
    assert_refused(warden, late, "trigger.delay")


@pytest.mark.parametrize("condition", ["", "equals:x", "contains:", "outputs['a'].stdout.contains(", "1 +"])
def test_S020_a_condition_that_cannot_be_read_is_refused(warden: Warden, condition: str) -> None:
    """The expression is parsed when the document is read."""
    found = problems(
        warden,
        {"a": job("a"), "child": job("child", trigger={"after": [{"job": "a"}], "if": condition})},
    )
    assert "/spec/trigger/if" in found["child"]


def test_S023_a_cost_ceiling_is_an_amount_of_money(warden: Warden) -> None:
    """From nothing on, and finite."""
    amounts: dict[str, object] = {"nothing": "0", "some": "99.99", "less": "-1", "endless": "Infinity", "words": "much"}
    amounts["number"] = 5
    found = problems(warden, {name: job(name, trustContract={"maxCost": amount}) for name, amount in amounts.items()})
    assert [name for name, problem in found.items() if problem] == ["less", "endless", "words", "number"]
    assert "/spec/trustContract/maxCost" in found["less"]
    assert '"5"' in found["number"]


def test_S025_a_credential_is_given_to_something_that_runs(warden: Warden) -> None:
    """A shell can take it; a watchdog over a job starts nothing that could."""
    policy = {"deliver": [{"name": "token", "providerRef": {"name": "vault"}, "key": "token", "env": "TOKEN"}]}
    provider = document("CredentialProvider", "vault", {"env": {"keys": {"token": "TOKEN"}}})
    watchdog = {"job": "shell", "maxDuration": "1h"}
    found = problems(
        warden,
        {
            "vault": provider,
            "shell": job("shell", credentialPolicy=policy),
            "watchdog": bare("watchdog", watchdog=watchdog, credentialPolicy=policy),
        },
    )
    assert [name for name, problem in found.items() if problem] == ["watchdog"]
    assert "/spec/credentialPolicy/deliver" in found["watchdog"]


def test_S025_a_policy_that_is_named_gives_nothing_to_what_starts_nothing(warden: Warden) -> None:
    """What one document cannot know is refused before the run opens."""
    deliver = [{"name": "token", "providerRef": {"name": "vault"}, "key": "token", "env": "TOKEN"}]
    warden.write(
        "watching",
        document("CredentialProvider", "vault", {"env": {"keys": {"token": "TOKEN"}}}),
        document("CredentialPolicy", "gives", {"deliver": deliver}),
        job("watched"),
        bare(
            "watchdog",
            schedule={"at": "2024-01-01T00:00:00Z"},
            watchdog={"job": "watched", "maxDuration": "1h"},
            credentialPolicyRef={"name": "gives"},
        ),
    )
    warden.start()
    [refused] = warden.wait_run("watchdog", "Denied")
    assert refused["status"]["reason"] == "CredentialRefused"


def test_S026_children_get_one_of_four_things(warden: Warden) -> None:
    """Any other word is refused, with those that there are."""
    words = ("None", "Inherit", "Independent", "Sometimes")
    policies: dict[str, Document] = {word.lower(): {"children": word} for word in words}
    policies["downscope"] = {"children": "Downscope", "childScopes": ["read"]}
    found = problems(warden, {name: document("CredentialPolicy", name, policy) for name, policy in policies.items()})
    assert [name for name, problem in found.items() if problem] == ["sometimes"]
    assert "Downscope" in found["sometimes"]


def test_S028_suspension_is_a_boolean_and_nothing_else(warden: Warden) -> None:
    """No truthiness: 0, 1 and words are refused, and so is the field of another system."""
    found = problems(
        warden,
        {
            "boolean": job("boolean", suspend=True),
            "zero": job("zero", suspend=0),
            "one": job("one", suspend=1),
            "word": "apiVersion: jobwarden.dev/v1alpha1\nkind: ScheduledJob\nmetadata: {name: word}\n"
            "spec: {suspend: yes, shell: {script: 'true'}}\n",
            "enabled": job("enabled", enabled=0),
        },
    )
    assert [name for name, problem in found.items() if problem] == ["zero", "one", "word", "enabled"]
    assert "/spec/suspend" in found["zero"]
    assert "enabled" in found["enabled"]


def test_S028_a_suspended_job_does_not_fire(warden: Warden) -> None:
    """And says so."""
    warden.write("jobs", job("off", schedule={"every": "1s"}, suspend=True), job("on", schedule={"every": "1s"}))
    warden.start()
    warden.wait_run("on", "Succeeded", count=3)
    assert warden.runs("off") == []
    assert warden.condition("off", "Suspended")["status"] == "True"
