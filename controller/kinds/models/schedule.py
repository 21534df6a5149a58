"""When a job runs: by time, after other jobs, and with which parameters."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import (
    Duration,
    DurationOrZero,
    Instant,
    JobName,
    Model,
    ParameterName,
    Rule,
    TimeZone,
    exactly_one,
    list_of,
)

Cron = Annotated[str, Field(min_length=1, max_length=256, json_schema_extra={"x-jobwarden-type": "cron"})]
_CRON_HELP = (
    "Five fields (minute, hour, day of month, month, day of week) or six (seconds last); names, ranges, lists, steps, `L`, `5#2`, `H` "
    "and macros such as `@daily`."
)


class CatchUp(Model):
    """What happens to instants that passed while nobody was there to fire them."""

    policy: Literal["None", "Latest", "All"] = Field(
        "Latest",
        description="`None` lets them go, `Latest` runs the most recent one, `All` runs them one at a time up to `limit`.",
    )
    limit: int = Field(100, ge=1, le=100, description="How many missed instants `All` makes up for, newest first.")


class Schedule(Model):
    """When the job fires by time."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("cron", "crons", "every", "at"),)

    cron: Cron | None = Field(None, description=f"One cron expression. {_CRON_HELP}")
    crons: list[Cron] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="Several cron expressions; an instant that two of them name fires once.",
        json_schema_extra=list_of(""),
    )
    every: Duration | None = Field(
        None,
        description="A fixed interval of at least 1s, counted from `startAt`, else from when the controller first saw this schedule.",
    )
    at: Instant | None = Field(
        None, description="One instant, for a job that runs once. RFC 3339, for example 2026-03-01T09:00:00+01:00."
    )
    time_zone: TimeZone = Field(
        "UTC", description="IANA name of the zone that cron expressions are read in, for example Europe/Berlin."
    )
    jitter: DurationOrZero = Field(
        "0s",
        description="Each instant is delayed by up to this much; the delay is always the same for the same job and instant.",
    )
    start_at: Instant | None = Field(None, description="Nothing fires before this instant.")
    end_at: Instant | None = Field(None, description="Nothing fires after this instant; the job is then Completed.")
    starting_deadline: Duration | None = Field(
        None,
        description="A firing that could not start within this time ends as Missed. Waiting for a pool, an overlap or an approval counts. "
        "Default: never too late.",
    )
    catch_up: CatchUp | None = Field(
        None, description="What happens to instants that passed while no controller was running."
    )


class Parent(Model):
    """One parent of a chained job."""

    job: JobName = Field(description="Name of a ScheduledJob in the same namespace.")
    when: Literal["Succeeded", "Failed", "Finished"] = Field(
        "Succeeded",
        description="Which end of the parent counts; Failed and Finished once its retries are used up, Finished is either of the others.",
    )


class Trigger(Model):
    """When the job runs because others ended."""

    after: list[Parent] = Field(
        min_length=1, max_length=16, description="The parents.", json_schema_extra=list_of("job")
    )
    join: Literal["Any", "All"] = Field(
        "Any",
        description="`Any`: each parent that ends suitably causes a run. `All`: one run once all of them have, within the same root run.",
    )
    delay: DurationOrZero = Field("0s", description="How long to wait after the parent's end.")
    if_: str | None = Field(
        None,
        alias="if",
        min_length=1,
        max_length=4096,
        description="A CEL expression that must be true, over `parents['job']` (state, exitCode, …), `outputs['job']` and `parameters`. "
        "One that fails counts as false.",
    )


class ParentOutput(Model):
    """Names one output of an ancestor."""

    job: JobName = Field(description="A succeeded ancestor in the same root run.")
    key: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        description="The key of a `key=value` line that the ancestor wrote to $JOBWARDEN_OUTPUT.",
    )


class ParameterSource(Model):
    """Where a parameter's value comes from."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("parentOutput"),)

    parent_output: ParentOutput | None = Field(None, description="An output of an ancestor in the same root run.")


class Parameter(Model):
    """A named input of the job."""

    name: ParameterName = Field(
        description="Reaches the run as environment variable JOBWARDEN_PARAM_<NAME in upper case>."
    )
    default: str | None = Field(None, max_length=4096, description="The value when none is given.")
    required: bool = Field(
        default=False,
        description="A run without a value is refused. With neither `default` nor `valueFrom` only on jobs that run on request.",
    )
    pattern: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Regular expression (RE2 style) that the whole value must match.",
        json_schema_extra={"x-jobwarden-type": "regex"},
    )
    value_from: ParameterSource | None = Field(
        None, description="Takes the value from elsewhere; `default` is used when there is none."
    )
