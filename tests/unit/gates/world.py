"""A world for the gates: a dispatch that is due, and strategies for what may govern it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from controller.domain.governors import Governed
from controller.domain.records import Dispatch
from controller.domain.states import Cause, DispatchState
from controller.domain.trust import (
    Box,
    Children,
    Contract,
    CredentialPolicy,
    Detail,
    Enforcement,
    Grant,
    Identity,
    NetworkMode,
    Profile,
    Ref,
    Subject,
    SubjectKind,
    TrustLevel,
)
from controller.gates.enquiries import Finding, NoAnswer, NotVouched, Vouched
from controller.gates.facts import Parent, TrustFacts

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LEVELS = st.sampled_from(list(TrustLevel))
HOSTS = st.sampled_from(["a.example", "b.example", "x.a.example", "*.a.example", "a.example:443", "*.x.a.example"])
SCOPES = st.lists(st.sampled_from(["read", "write", "pay", "audit"]), unique=True, max_size=4).map(tuple)
ISSUER = Ref("issuer", "CredentialProvider")
PATHS = st.sampled_from(["/data", "/data/in", "/data/in/deep", "/srv", "/"])


def identity(level: TrustLevel = TrustLevel.Supervised, principal: str = "reporter", **fields: Any) -> Identity:
    """A principal of this level."""
    return Identity(Subject(SubjectKind.Service, principal), level=level, **fields)


def dispatch(**fields: Any) -> Dispatch:
    """A scheduled dispatch that is due."""
    plain: dict[str, Any] = {
        "id": "d1",
        "job_id": 1,
        "namespace": "default",
        "job": "job",
        "cause": Cause.Schedule,
        "state": DispatchState.Pending,
        "scheduled_for": NOW,
        "not_before": NOW,
        "created_at": NOW,
    }
    return Dispatch(**{**plain, **fields})


def facts(governed: Governed | None = None, **fields: Any) -> TrustFacts:
    """What the gates see of a dispatch that nobody triggered."""
    plain: dict[str, Any] = {
        "now": NOW,
        "dispatch": dispatch(),
        "governed": governed or Governed(),
        "effective_digest": "v1:sha256:job",
    }
    return TrustFacts(**{**plain, **fields})


def parent(
    children: Children, who: Identity | None = None, job: str = "parent", child_scopes: tuple[str, ...] = ()
) -> Parent:
    """A run that triggered this one, and what its job gives to children."""
    policy = CredentialPolicy(children=children, child_scopes=child_scopes)
    return Parent(f"{job}-1", job, Grant(digest="", identity=who, credentials=policy))


identities = st.builds(
    identity,
    level=LEVELS,
    principal=st.sampled_from(["a", "b"]),
    scopes=SCOPES,
    provider=st.none() | st.sampled_from([ISSUER, Ref("other", "ClusterCredentialProvider")]),
).flatmap(
    # Nobody but a provider attests anything.
    lambda one: (
        st.just(one)
        if one.provider is None
        else st.sampled_from([None, "silver", "gold"]).map(lambda word: msgspec.structs.replace(one, attestation=word))
    )
)
findings: st.SearchStrategy[Finding] = st.one_of(
    st.builds(
        Vouched,
        principal=st.none() | st.sampled_from(["a", "b"]),
        level=st.none() | LEVELS,
        scopes=st.none() | SCOPES,
        attestations=st.none() | st.lists(st.sampled_from(["silver", "gold"]), unique=True).map(tuple),
    ),
    st.builds(NotVouched, st.just("no")),
    st.builds(NoAnswer, st.just("nobody is there")),
)
boxes = st.builds(
    Box,
    enforcement=st.sampled_from([Enforcement.Warn, Enforcement.Block]),
    profile=st.sampled_from(list(Profile)),
    read=st.none() | st.lists(PATHS, max_size=3).map(tuple),
    write=st.none() | st.lists(PATHS, max_size=3).map(tuple),
    network=st.sampled_from(list(NetworkMode)),
    hosts=st.lists(HOSTS, max_size=3).map(tuple),
)
contracts = st.builds(
    Contract,
    required=LEVELS,
    enforcement=st.sampled_from(list(Enforcement)),
    box=boxes,
    max_cost=st.none() | st.decimals(min_value=0, max_value=100, places=2),
    audit=st.sampled_from(list(Detail)),
)
