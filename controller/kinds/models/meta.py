"""What all kinds share: metadata, references, places that secrets come from, conditions."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import (
    AbsolutePath,
    EnvName,
    Instant,
    Model,
    Name,
    Rule,
    exactly_one,
    list_of,
)

NAMESPACE_HELP = "In files: default `default`, and a source may force another."

# 253 characters of prefix, a slash, 63 of name: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
LabelKey = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317),
]
LabelValue = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        max_length=63,
        json_schema_extra={"x-jobwarden-type": "labelValue"},
    ),
]


class Metadata(Model):
    """Who the resource is."""

    name: Name = Field(
        description="Unique among the resources of this kind in the namespace: lower-case letters, digits and `-`."
    )
    namespace: Name | None = Field(None, description=f"The namespace that the resource lives in. {NAMESPACE_HELP}")
    labels: dict[LabelKey, LabelValue] | None = Field(
        None,
        max_length=64,
        description="Key and value pairs to select resources by, as with `jobwarden get jobs -l team=data`.",
    )
    annotations: dict[LabelKey, Annotated[str, Field(max_length=65536)]] | None = Field(
        None,
        max_length=64,
        description="Key and value pairs that select nothing. jobwarden reads `jobwarden.dev/hold`, `jobwarden.dev/prune`, "
        "`jobwarden.dev/run-requested-at`, `jobwarden.dev/cancel-requested-at` and `jobwarden.dev/reconcile-requested-at`.",
    )


class JobRef(Model):
    """Names a job of the same namespace."""

    name: Name = Field(max_length=52, description="Name of a ScheduledJob in the same namespace.")


class TargetRef(Model):
    """Names a place to tell things to."""

    name: Name = Field(description="Name of the notification target.")
    kind: Literal["NotificationTarget", "ClusterNotificationTarget"] = Field(
        "NotificationTarget",
        description="`NotificationTarget` is looked up in the job's own namespace, `ClusterNotificationTarget` for all namespaces that it allows.",
    )


class EnvRef(Model):
    """Names a variable of the controller's own environment."""

    name: EnvName = Field(
        description="Name of the variable. Only names that the controller's settings allow can be read; none by default."
    )


class FileRef(Model):
    """Names a file on the controller's host."""

    path: AbsolutePath = Field(
        description="Absolute path of the file. Only files in folders that the controller's settings allow can be read; none by default. "
        "A final line break is not part of the value."
    )


class SecretKeyRef(Model):
    """Names a key of a Secret of a cluster."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")] = Field(
        description="Name of the Secret: of the target's own namespace, or for a kind of the whole cluster of the controller's."
    )
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="The key in it."
    )


class SecretSource(Model):
    """Where a secret is read when it is needed; it is never stored."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("envRef", "fileRef", "secretKeyRef"),)

    env_ref: EnvRef | None = Field(None, description="A variable of the controller's own environment.")
    file_ref: FileRef | None = Field(None, description="A file on the controller's host.")
    secret_key_ref: SecretKeyRef | None = Field(
        None, description="A key of a Secret, for a controller in a cluster that has the right to read it."
    )


class Header(Model):
    """One HTTP header whose value is a secret."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")] = Field(
        description="Name of the header."
    )
    value_from: SecretSource = Field(description="Where its value is read.")


class Condition(Model):
    """One observation about the resource, as Kubernetes writes them."""

    type: str = Field(min_length=1, max_length=64, description="What is observed, for example `Ready`.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(min_length=1, max_length=128, description="One CamelCase word that says why.")
    message: str = Field("", max_length=1024, description="A sentence for people.")
    last_transition_time: Instant | None = Field(None, description="When `status` last changed.")
    observed_generation: int | None = Field(None, ge=0, description="The generation that this was observed for.")


class Status(Model):
    """What the controller writes about every resource."""

    observed_generation: int | None = Field(None, ge=0, description="The generation that the controller has seen.")
    ready: Literal["True", "False", "Unknown"] | None = Field(
        None, description="Mirror of the condition Ready, for columns and field selectors."
    )
    conditions: list[Condition] | None = Field(
        None,
        max_length=16,
        description="Observations, at most one of each type.",
        json_schema_extra=list_of("type"),
    )
