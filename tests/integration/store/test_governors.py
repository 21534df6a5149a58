"""The documents of trust as the gates read them: again when something has changed, whole, and what is broken is told."""

import itertools
from typing import Any

import msgspec
from sqlalchemy import delete, insert, update

from controller.domain.trust import Children, CredentialPolicy
from controller.store import governors, schema
from controller.store.governors import Registry
from tests.integration.dispatch.world import World

_NUMBERS = itertools.count(1000)


def declare(world: World, kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> None:
    """A document that was accepted."""
    values = {
        "id": next(_NUMBERS),
        "kind": kind,
        "namespace": "" if kind.startswith("Cluster") else namespace,
        "name": name,
        "uid": f"{kind}-{name}",
        "generation": 1,
        "source": "files",
        "document": msgspec.json.encode({"kind": kind, "spec": spec}),
        "digest": f"sha256:{name}",
        "created_at": world.now,
        "updated_at": world.now,
    }
    world.write(lambda tx: tx.execute(insert(schema.resources).values(values)))


def rejected(world: World, *documents: tuple[str, str]) -> None:
    """What the source says that is wrong with its documents."""
    errors = msgspec.json.encode([{"kind": kind, "name": name, "message": "odd"} for kind, name in documents])
    row = {"name": "files", "kind": "directory", "location": "/", "served": True, "errors": errors}
    world.write(lambda tx: tx.execute(delete(schema.sources).where(schema.sources.c.name == "files")))
    world.write(lambda tx: tx.execute(insert(schema.sources).values(row)))


def test_what_has_not_changed_is_not_read_again(world: World) -> None:
    """The same value, as long as nothing came, changed or went."""
    registry = Registry()
    declare(world, "CredentialPolicy", "one", {"children": "Inherit"})
    first = world.write(registry.current)
    assert world.write(registry.current) is first
    changes = (
        lambda: declare(world, "TrustContract", "two", {}),
        lambda: world.write(
            lambda tx: tx.execute(
                update(schema.resources)
                .where(schema.resources.c.name == "one")
                .values(generation=2, document=msgspec.json.encode({"spec": {"children": "Independent"}}))
            )
        ),
        lambda: world.write(lambda tx: tx.execute(delete(schema.resources).where(schema.resources.c.name == "two"))),
    )
    for change in changes:
        change()
        following = world.write(registry.current)
        assert following is not first
        first = following
    [left] = first.documents
    assert left.document == CredentialPolicy(children=Children.Independent)


def test_documents_of_other_kinds_do_not_count(world: World) -> None:
    """A pool is no governor."""
    registry = Registry()
    first = world.write(registry.current)
    declare(world, "ResourcePool", "pool", {"slots": 1})
    assert world.write(registry.current) is first


def test_a_cluster_document_without_a_good_version_is_broken_and_no_other_is(world: World) -> None:
    """One that was accepted before stays in force; what binds nobody by itself holds nobody up."""
    declare(world, "ClusterTrustContract", "kept", {})
    rejected(
        world,
        ("ClusterTrustContract", "kept"),
        ("ClusterTrustContract", "lost"),
        ("ClusterAuthorizationPolicy", "rules"),
        ("TrustContract", "own"),
        ("ClusterCredentialProvider", "vault"),
    )
    found = world.write(governors.read)
    assert found.broken == ("ClusterAuthorizationPolicy rules", "ClusterTrustContract lost")
    registry = Registry()
    assert world.write(registry.current).broken
    rejected(world)
    assert world.write(registry.current).broken == ()


def test_a_document_is_found_in_its_namespace_alone(world: World) -> None:
    """And one of a Cluster kind from every namespace."""
    declare(world, "TrustContract", "same", {}, "a")
    declare(world, "ClusterTrustContract", "wide", {})
    found = world.write(governors.read)
    assert found.find("TrustContract", "a", "same") is not None
    assert found.find("TrustContract", "b", "same") is None
    assert found.find("ClusterTrustContract", "b", "wide") is not None
