"""What a job runs, and the environment that it runs in."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from controller.kinds.models.base import (
    AbsolutePath,
    Duration,
    EnvName,
    Instant,
    JobName,
    Model,
    Name,
    Rule,
    exactly_one,
    open_object,
)
from controller.kinds.models.meta import EnvRef, FileRef

Script = Annotated[
    str, Field(min_length=1, max_length=131071)
]  # the kernel takes 128 KiB in one argument, with its final NUL
Shell = AbsolutePath
Image = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\s]+$")]
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
ResourceName = Annotated[
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317)
]
ResourceQuantity = Annotated[
    str,
    Field(
        pattern=r"^([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$", max_length=32
    ),
]
ConfigKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class ShellTarget(Model):
    """A script for a shell."""

    script: Script = Field(
        description="The script, run as `SHELL -c SCRIPT`. Lines `key=value` written to $JOBWARDEN_OUTPUT become outputs."
    )
    shell: Shell = Field("/bin/sh", description="Absolute path of the shell.")


class ExecTarget(Model):
    """A program with arguments; no shell reads them."""

    command: list[Annotated[str, Field(max_length=4096)]] = Field(
        min_length=1, max_length=64, description="The program, by path or looked up in PATH, and its first arguments."
    )
    args: list[Annotated[str, Field(max_length=32000)]] = Field(
        default=[], max_length=256, description="More arguments, put after those of `command`."
    )


class PodTarget(Model):
    """A Pod of your own making, as in the template of a CronJob."""

    template: dict[str, Any] = Field(
        description="A PodTemplateSpec, taken as it is: a CronJob's pastes here. `restartPolicy` becomes Never, no service account token is mounted unless the "
        "controller's settings allow the account.",
        json_schema_extra=open_object(),
    )
    container: Name | None = Field(
        None, description="The container that the run is: its exit code, its output. Default: the first."
    )


class ResourceRequirements(Model):
    """How much of a node the container asks for and may use."""

    requests: dict[ResourceName, ResourceQuantity] | None = Field(
        None, max_length=16, description="What the scheduler sets aside."
    )
    limits: dict[ResourceName, ResourceQuantity] | None = Field(
        None, max_length=16, description="What the container may use; beyond its memory it is killed."
    )


class WatchdogCheck(Model):
    """A script that tells how an outside task stands."""

    script: Script = Field(
        description='Exit 0 with JSON `{"terminal": true}` on standard output: the task has ended, the watchdog is Completed. 0: it goes on. '
        "1: it is stuck. 2: could not tell, ask again."
    )
    shell: Shell = Field("/bin/sh", description="Absolute path of the shell.")


class WatchdogTarget(Model):
    """Watches the runs of a job, or an outside task through a script, and raises one Alert per episode of trouble."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("job", "check"),)

    job: JobName | None = Field(
        None, description="Name of a ScheduledJob in the same namespace; each of its runs is watched."
    )
    check: WatchdogCheck | None = Field(None, description="A script that is asked how an outside task stands.")
    started_at: Instant | None = Field(
        None, description="When the outside task began; default: when the controller first saw this. Only with `check`."
    )
    max_duration: Duration | None = Field(None, description="The task is stuck once it takes longer than this.")
    no_output_for: Duration | None = Field(
        None, description="The run is stuck once it has printed nothing for this long. Only with `job`."
    )


class FieldRef(Model):
    """Names a field of the job itself."""

    field_path: str = Field(
        max_length=400,
        pattern=r"^metadata\.(name|namespace|uid|(labels|annotations)\['[^'\\]+'\])$",
        description="`metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['key']` or `metadata.annotations['key']`.",
        json_schema_extra={"x-jobwarden-type": "fieldPath"},
    )


class KeyRef(Model):
    """Names a key of a Secret or ConfigMap in the job's namespace."""

    name: ObjectName = Field(description="Name of the object.")
    key: ConfigKey = Field(description="The key in it.")
    optional: bool = Field(default=False, description="Start without the variable if there is no such key.")


class ObjectRef(Model):
    """Names a Secret or ConfigMap in the job's namespace."""

    name: ObjectName = Field(description="Name of the object.")
    optional: bool = Field(default=False, description="Start without its variables if there is no such object.")


class EnvFromSource(Model):
    """All keys of a Secret or ConfigMap as variables."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("secretRef", "configMapRef"),)

    prefix: Annotated[str, Field(max_length=128, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = Field(
        "", description="Put before every name."
    )
    secret_ref: ObjectRef | None = Field(None, description="A Secret.")
    config_map_ref: ObjectRef | None = Field(None, description="A ConfigMap.")


class CredentialRef(Model):
    """Names a credential that the run is given."""

    name: Name = Field(description="Name of a delivery of the job's credential policy.")


class EnvSource(Model):
    """Where a variable's value is read when a run starts."""

    unions: ClassVar[tuple[Rule, ...]] = (
        exactly_one("fileRef", "envRef", "fieldRef", "secretKeyRef", "configMapKeyRef", "credentialRef"),
    )

    file_ref: FileRef | None = Field(None, description="A file on the controller's host.")
    env_ref: EnvRef | None = Field(None, description="A variable of the controller's own environment.")
    field_ref: FieldRef | None = Field(None, description="A field of the job itself.")
    secret_key_ref: KeyRef | None = Field(
        None,
        description="A key of a Secret in the job's namespace. Only where runs are Pods: the controller never reads it.",
    )
    config_map_key_ref: KeyRef | None = Field(
        None, description="A key of a ConfigMap in the job's namespace. Only where runs are Pods."
    )
    credential_ref: CredentialRef | None = Field(
        None, description="A credential of the job's credential policy, wherever else the policy delivers it."
    )


class EnvVar(Model):
    """One environment variable of the run."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("value", "valueFrom"),)

    name: EnvName = Field(description="Name of the variable; not JOBWARDEN_…, which the controller sets.")
    value: str | None = Field(
        None,
        max_length=32000,
        description="The value as it is; nothing in it is expanded. Not for secrets: use `valueFrom`.",
    )
    value_from: EnvSource | None = Field(
        None, description="Where the value is read when the run starts. It is never stored."
    )
