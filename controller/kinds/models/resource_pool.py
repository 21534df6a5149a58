"""ResourcePool and ClusterResourcePool: how many slots may be held at once."""

from pydantic import Field

from controller.kinds.models.base import Model, NamespaceOrAll, list_of
from controller.kinds.models.meta import Status


class ResourcePoolSpec(Model):
    """The size of the pool."""

    slots: int = Field(ge=1, le=10000, description="How many slots may be held at once.")
    description: str = Field("", max_length=1024, description="What the slots stand for, in your words.")


class ClusterResourcePoolSpec(ResourcePoolSpec):
    """The size of the pool and who may use it."""

    allowed_namespaces: list[NamespaceOrAll] = Field(
        default=[],
        max_length=256,
        description="Namespaces whose jobs may use the pool, or `*` for all; empty: none.",
        json_schema_extra=list_of(""),
    )


class PoolHolder(Model):
    """One run that holds slots."""

    run: str = Field(max_length=63, description="Name of the run.")
    namespace: str | None = Field(None, max_length=63, description="Namespace of the run.")
    slots: int = Field(ge=1, description="How many slots it holds.")


class ResourcePoolStatus(Status):
    """How the pool stands."""

    held: int | None = Field(None, ge=0, description="How many slots are held.")
    waiting: int | None = Field(None, ge=0, description="How many dispatches wait for slots.")
    holders: list[PoolHolder] | None = Field(None, max_length=20, description="Who holds slots, oldest first.")
