"""Cases I: who is told what. Every target is a real HTTP endpoint."""

from tests.conformance.asking import told
from tests.harness import Receiver, Warden, once, webhook
from tests.harness.manifests import Document


def notify(target: str, *events: str) -> list[Document]:
    return [{"events": list(events), "targetRef": {"name": target}}]


def test_S142_a_job_names_a_target_and_the_target_says_where(warden: Warden, receiver: Receiver) -> None:
    """The job keeps the name; moving the target moves every message after that."""
    warden.write("target", webhook("team", receiver.url("/old")))
    warden.write("one", once("one", notifications=notify("team", "Succeeded")))
    warden.start(applied=("one",))
    warden.wait_for(lambda: told(receiver, "/old") == [("Succeeded", "one")], "the first message")
    warden.write("target", webhook("team", receiver.url("/new")))
    warden.wait_for(
        lambda: receiver.url("/new") in warden.cli("get", "targets", "team", "-o", "json").ok().out,
        "the target to move",
    )
    warden.write("two", once("two", notifications=notify("team", "Succeeded")))
    warden.wait_for(lambda: told(receiver, "/new") == [("Succeeded", "two")], "the second message")
    assert told(receiver, "/old") == [("Succeeded", "one")]
    assert warden.job("two")["spec"]["notifications"][0]["targetRef"]["name"] == "team"


def test_S143_people_are_told_the_events_that_the_job_lists_and_no_others(
    each_warden: Warden, receiver: Receiver
) -> None:
    """Failures only, or both, or nothing."""
    warden = each_warden
    warden.write("target", webhook("team", receiver.url("/team")))
    warden.write(
        "jobs",
        once("quiet-good", notifications=notify("team", "Failed")),
        once("quiet-bad", "exit 1", notifications=notify("team", "Failed")),
        once("loud-good", notifications=notify("team", "Failed", "Succeeded")),
        once("loud-bad", "exit 1", notifications=notify("team", "Failed", "Succeeded")),
        once("mute", "exit 1"),
    )
    warden.start()
    expected = [("Failed", "loud-bad"), ("Failed", "quiet-bad"), ("Succeeded", "loud-good")]
    warden.wait_for(lambda: sorted(told(receiver, "/team")) == expected, "exactly these messages")
    for name in ("quiet-good", "mute"):
        warden.wait_run(name)
    assert warden.stop() == 0
    assert sorted(told(receiver, "/team")) == expected


def test_S148_a_message_that_is_refused_stays_and_goes_again_while_others_arrive(
    each_warden: Warden, receiver: Receiver
) -> None:
    """One broken endpoint holds nobody up, and its message is not lost."""
    warden = each_warden
    receiver.answer("/broken", 500, 200)
    warden.write("targets", webhook("broken", receiver.url("/broken")), webhook("sound", receiver.url("/sound")))
    warden.write(
        "jobs",
        once("one", notifications=notify("broken", "Succeeded")),
        once("two", notifications=notify("sound", "Succeeded")),
    )
    warden.start()
    warden.wait_for(lambda: told(receiver, "/sound") == [("Succeeded", "two")], "the other message to arrive")
    warden.wait_for(lambda: len(told(receiver, "/broken")) >= 2, "a second try", deadline=120)
    assert told(receiver, "/broken") == [("Succeeded", "one")] * 2
    assert warden.stop() == 0
    assert told(receiver, "/sound") == [("Succeeded", "two")]
