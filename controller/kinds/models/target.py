"""What a job runs, and the environment that it runs in."""

from typing import Annotated, ClassVar

from pydantic import Field

from controller.kinds.models.base import (
    AbsolutePath,
    Duration,
    EnvName,
    Instant,
    JobName,
    Model,
    Rule,
    exactly_one,
)
from controller.kinds.models.meta import EnvRef, FileRef

Script = Annotated[
    str, Field(min_length=1, max_length=131071)
]  # the kernel takes 128 KiB in one argument, with its final NUL
Shell = AbsolutePath


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


class EnvSource(Model):
    """Where a variable's value is read when a run starts."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("fileRef", "envRef", "fieldRef"),)

    file_ref: FileRef | None = Field(None, description="A file on the controller's host.")
    env_ref: EnvRef | None = Field(None, description="A variable of the controller's own environment.")
    field_ref: FieldRef | None = Field(None, description="A field of the job itself.")


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
