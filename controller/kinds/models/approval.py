"""Approval: one request for a decision, made by the controller."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import Instant, Model, Name, ParameterName, UserName
from controller.kinds.models.meta import JobRef, Status


class Decision(Model):
    """What one person decided. Permanent."""

    immutable: ClassVar[bool] = True

    decision: Literal["Approved", "Rejected"] = Field(description="The answer.")
    reason: str = Field("", max_length=1024, description="Why, in their words.")


class PolicyRef(Model):
    """Names the policy and the rule that asks."""

    kind: Literal["AuthorizationPolicy", "ClusterAuthorizationPolicy"] = Field(description="Kind of the policy.")
    name: Name = Field(description="Name of the policy.")
    rule: Name = Field(description="Name of the rule.")


class ApprovalSpec(Model):
    """What is asked, and what people answered. All but `decisions` never changes."""

    job_ref: JobRef = Field(description="The job that wants to run.")
    dispatch: str = Field(
        min_length=1, max_length=128, description="The dispatch that waits; the answer counts for no other."
    )
    gate: Literal["Approval", "Escalation"] = Field(
        "Approval",
        description="Which gate asks: `Approval` is the one that the job itself declares, `Escalation` a rule of a policy that governs it.",
    )
    policy_ref: PolicyRef | None = Field(None, description="With the gate `Escalation`: the policy whose rule asks.")
    digest: str = Field(
        min_length=1,
        max_length=128,
        description="Digest of what was asked for. A job that has changed since must ask again.",
    )
    parameters: dict[ParameterName, Annotated[str, Field(max_length=4096)]] | None = Field(
        None, max_length=32, description="The parameters of the run."
    )
    scheduled_for: Instant | None = Field(None, description="The instant that the run stands for.")
    requested_by: UserName | None = Field(None, description="Who asked for the run, where somebody did.")
    message: str = Field("", max_length=1024, description="The job's own words to those who decide.")
    decisions: dict[UserName, Decision] | None = Field(
        None, max_length=64, description="Answers by user name. Everybody may add only their own, once."
    )


class ApprovalStatus(Status):
    """Where the request stands."""

    state: Literal["Pending", "Approved", "Rejected", "TimedOut", "Superseded", "Cancelled"] | None = Field(
        None, description="Where the request stands."
    )
    expires_at: Instant | None = Field(None, description="When it times out.")
