"""NotificationTarget and ClusterNotificationTarget: a named place to tell things to."""

from typing import ClassVar

from pydantic import Field

from controller.kinds.models.base import Model, NamespaceOrAll, Rule, Url, exactly_one, list_of
from controller.kinds.models.meta import Header, SecretSource, Status


class Webhook(Model):
    """A JSON message posted to a URL, signed if a key is given."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("url", "urlFrom"),)

    url: Url | None = Field(
        None, description="http or https URL with no secret in it; one with a secret belongs into `urlFrom`."
    )
    url_from: SecretSource | None = Field(None, description="Where the URL is read, when it contains a secret.")
    headers_from: list[Header] = Field(
        default=[],
        max_length=16,
        description="Headers whose values are secrets, such as Authorization.",
        json_schema_extra=list_of("name"),
    )
    signing_key_from: SecretSource | None = Field(
        None,
        description="Where the key is read that signs each message (Standard Webhooks: HMAC-SHA256 in the header webhook-signature).",
    )


class NotificationTargetSpec(Model):
    """Where messages go."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("appriseURLFrom", "webhook"),)

    apprise_url_from: SecretSource | None = Field(
        None,
        alias="appriseURLFrom",
        description="Where an apprise URL is read, such as slack://… or mailto://…; it contains the secrets of the service.",
    )
    webhook: Webhook | None = Field(None, description="A generic webhook.")


class ClusterNotificationTargetSpec(NotificationTargetSpec):
    """Where messages go and who may send them."""

    allowed_namespaces: list[NamespaceOrAll] = Field(
        default=[],
        max_length=256,
        description="Namespaces whose jobs may use the target, or `*` for all; empty: none.",
        json_schema_extra=list_of(""),
    )


class NotificationTargetStatus(Status):
    """How the target stands."""
