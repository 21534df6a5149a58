"""Documents of trust as records: what is not said means what the schema says that it means."""

from datetime import timedelta
from typing import Any

from controller.base.references import EnvRef, FileRef, SecretSource
from controller.domain import resolve_trust
from controller.domain.trust import AccessResource, AccessReview, AccessSubject, Decision, Escalation, External, Plugin
from controller.kinds.models.trust import AccessReview as AccessReviewModel
from controller.kinds.models.trust import ExternalDecision


def test_a_policy_may_ask_others_alone() -> None:
    """Without rules nothing is left to a default."""
    found = resolve_trust.authorization({"external": {"url": "https://a.example/"}})
    assert found.rules == ()
    assert found.default is Decision.Deny
    assert found.external == External("https://a.example/")
    assert found.access is None
    assert resolve_trust.authorization({"subjectAccessReview": {"verb": "run"}}).access == AccessReview("run")


def test_paths_of_a_box_without_a_list_are_none_at_all() -> None:
    """Only where nothing is said of paths has the profile its way."""
    empty = resolve_trust.contract({"box": {"paths": {}}}).box
    assert (empty.read, empty.write) == ((), ())
    silent = resolve_trust.contract({"box": {}}).box
    assert (silent.read, silent.write) == (None, None)


def test_what_is_not_said_of_a_decision_point_is_what_the_schema_says() -> None:
    """A default lives in both places, and an API server writes it out."""
    plain: dict[str, Any] = {"url": "https://a.example/"}
    full = ExternalDecision.model_validate({**plain, "escalation": {}}).model_dump(by_alias=True, exclude_none=True)
    assert full["timeout"]
    assert full["escalation"]["timeout"]
    read = resolve_trust.authorization
    assert read({"external": full}) == read({"external": plain})
    asked = {"verb": "run", "resource": {"resource": "jobs"}}
    whole = AccessReviewModel.model_validate(asked).model_dump(by_alias=True, exclude_none=True)
    assert whole["subject"]
    assert read({"subjectAccessReview": whole}) == read({"subjectAccessReview": asked})


def test_a_decision_point_may_be_a_plugin() -> None:
    """Named by its type, with what it is told."""
    plain = {"plugin": {"type": "freeze", "config": {"days": ["2026-12-24"]}}}
    found = resolve_trust.authorization({"external": plain}).external
    assert found == External(plugin=Plugin("freeze", {"days": ["2026-12-24"]}))
    assert found.where == "the plug-in freeze"
    full = ExternalDecision.model_validate({"plugin": {"type": "freeze"}}).model_dump(by_alias=True, exclude_none=True)
    assert resolve_trust.authorization({"external": full}).external == External(plugin=Plugin("freeze"))


def test_everything_that_can_be_said_of_them_is_read() -> None:
    """Secrets stay references."""
    found = resolve_trust.authorization(
        {
            "external": {
                "url": "https://a.example/",
                "timeout": "5s",
                "caFrom": {"fileRef": {"path": "/ca.pem"}},
                "headersFrom": [{"name": "X", "valueFrom": {"envRef": {"name": "TOKEN"}}}],
                "escalation": {"approvals": 2, "allowSelf": True, "timeout": "1h"},
            },
            "subjectAccessReview": {
                "subject": "Requester",
                "groups": ["ops"],
                "verb": "create",
                "resource": {"group": "batch", "resource": "jobs", "subresource": "status", "name": "a"},
            },
        }
    )
    assert found.external == External(
        "https://a.example/",
        timedelta(seconds=5),
        SecretSource(file_ref=FileRef("/ca.pem")),
        (("X", SecretSource(env_ref=EnvRef("TOKEN"))),),
        Escalation(2, allow_self=True, timeout=timedelta(hours=1)),
    )
    assert found.access == AccessReview(
        "create", AccessSubject.Requester, ("ops",), AccessResource("jobs", "batch", "status", "a")
    )
    path = resolve_trust.authorization({"subjectAccessReview": {"verb": "get", "nonResource": "/metrics"}})
    assert path.access == AccessReview("get", path="/metrics")
