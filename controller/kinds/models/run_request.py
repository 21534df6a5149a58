"""RunRequest: asks for one run."""

from typing import Annotated, ClassVar

from pydantic import Field

from controller.kinds.models.base import DurationOrZero, Instant, Model, ParameterName, UserName
from controller.kinds.models.meta import JobRef, SecretSource, Status


class RunRequestSpec(Model):
    """Which job to run, and how. Never changes once made."""

    immutable: ClassVar[bool] = True

    job_ref: JobRef = Field(description="The job to run.")
    parameters: dict[ParameterName, Annotated[str, Field(max_length=4096)]] | None = Field(
        None, max_length=32, description="Values for the job's parameters."
    )
    scheduled_for: Instant | None = Field(
        None, description="The instant that the run stands for, when it makes up for one that was missed."
    )
    reason: str = Field("", max_length=1024, description="Why the run is wanted.")
    requested_by: UserName | None = Field(
        None, description="Who asks. Required in a cluster, where admission checks it."
    )
    idempotency_key: str | None = Field(
        None, min_length=1, max_length=256, description="Two requests with the same key lead to one run."
    )
    proof_from: SecretSource | None = Field(
        None,
        description="Where the proof of authority is that a policy may ask for. In a cluster it is a key of a Secret of the request's namespace.",
    )
    ttl_after_finished: DurationOrZero = Field(
        "24h", description="How long the request is kept once the run has ended."
    )


class RunRequestStatus(Status):
    """What became of the request."""

    run_name: str | None = Field(None, max_length=63, description="The run that was made.")
