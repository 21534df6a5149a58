"""All documents of trust at one moment, and which of them govern a job.

The store reads them, the gates ask `governing`. Invariant: pure; a document that cannot be found is never taken for one that says nothing.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TypeVar

import msgspec

from controller.base import canonical
from controller.domain.trust import (
    Authorization,
    Contract,
    CredentialPolicy,
    Identity,
    JobTrust,
    Match,
    Provider,
    Ref,
    TrustLevel,
)

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""The label that every namespace has. Source: KEP-2161."""

Document = Identity | CredentialPolicy | Contract | Authorization | Provider
T = TypeVar("T", Contract, Authorization)


class Governor(msgspec.Struct, frozen=True):
    """One document; those of Cluster kinds have the namespace "" and a `match`."""

    kind: str
    namespace: str
    name: str
    digest: str
    document: Document
    match: Match | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Governors(msgspec.Struct, frozen=True, dict=True):
    """Every document of trust. `broken` names documents of Cluster kinds that were rejected and have no last good version: what they bind is not
    known, so they might bind anything.
    """

    documents: tuple[Governor, ...] = ()
    broken: tuple[str, ...] = ()

    def providers(self) -> Mapping[str, str]:
        """Every provider in the words of messages, with its digest. Pure."""
        return {str(one): one.digest for one in self.documents if isinstance(one.document, Provider)}

    def find(self, kind: str, namespace: str, name: str) -> Governor | None:
        """The document of this identity. Pure."""
        return self._by_identity.get((kind, "" if kind.startswith("Cluster") else namespace, name))

    def any_signed(self) -> bool:
        """Whether any contract wants its evidence signed. Pure."""
        return any(
            one.document.evidence.signing_key is not None
            for one in self.documents
            if isinstance(one.document, Contract)
        )

    @cached_property
    def _by_identity(self) -> Mapping[tuple[str, str, str], Governor]:
        return {(one.kind, one.namespace, one.name): one for one in self.documents}


NOBODY = Governors()


class Governed(msgspec.Struct, frozen=True):
    """What holds for one job. Contracts and policies come with the words that name them; `by` are the documents with their digests.

    `missing` and `broken` are reasons to open nothing: something that the job names does not exist, something that may bind it cannot be read.
    """

    identity: Identity | None = None
    identity_from: str = ""
    credentials: CredentialPolicy = CredentialPolicy()
    contracts: tuple[tuple[str, Contract], ...] = ()
    policies: tuple[tuple[str, Authorization], ...] = ()
    by: Mapping[str, str] = {}
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def digest(self, effective: str) -> str:
        """The effective digest with everything that governs: what approvals and evidence are bound to. Pure."""
        return canonical.digest({"job": effective, "governors": dict(self.by)}) if self.by else effective


def governing(said: JobTrust, namespace: str, labels: Mapping[str, str], all_of: Governors) -> Governed | None:
    """What holds for a job of `namespace` with these labels; None: nothing does, and the job says nothing of trust. Pure."""
    if said == JobTrust() and not all_of.documents and not all_of.broken:
        return None
    work = _Gathering(namespace, labels, all_of)
    governed = Governed(
        identity=work.identity(said),
        identity_from=work.identity_from(said),
        credentials=work.credentials(said),
        contracts=work.binding(Contract, said.contract, said.contract_ref),
        policies=work.binding(Authorization, None, said.authorization_ref),
        by=work.by,
        missing=tuple(work.missing),
        broken=all_of.broken,
    )
    return governed if governed != Governed() else None


class _Gathering:
    def __init__(self, namespace: str, labels: Mapping[str, str], all_of: Governors) -> None:
        self._namespace, self._labels, self._all = namespace, labels, all_of
        self.by: dict[str, str] = {}
        self.missing: list[str] = []

    def identity(self, said: JobTrust) -> Identity | None:
        """With the document of whoever vouches for it among what governs."""
        identity = self._declared(said)
        if identity is not None and identity.provider is not None:
            self._named(identity.provider.kind, identity.provider.name)
        return identity

    def _declared(self, said: JobTrust) -> Identity | None:
        if said.identity is not None:
            return msgspec.structs.replace(said.identity, level=TrustLevel.Untrusted)
        found = self._named("IdentityProfile", said.identity_ref)
        return found if isinstance(found, Identity) else None

    def identity_from(self, said: JobTrust) -> str:
        if said.identity is not None:
            return "the job itself"
        return f"IdentityProfile {self._namespace}/{said.identity_ref}" if said.identity_ref else ""

    def credentials(self, said: JobTrust) -> CredentialPolicy:
        found = said.credentials or self._named("CredentialPolicy", said.credentials_ref)
        policy = found if isinstance(found, CredentialPolicy) else CredentialPolicy()
        for delivery in policy.deliver:
            if delivery.provider is not None:
                self._named(delivery.provider.kind, delivery.provider.name)
        return policy

    def binding(self, document: type[T], inline: T | None, ref: Ref | None) -> tuple[tuple[str, T], ...]:
        """What the job writes or names, then what binds it, each once."""
        found: dict[str, T] = {"the job itself": inline} if inline is not None else {}
        named = self._named(ref.kind, ref.name) if ref is not None else None
        if ref is not None and isinstance(named, document):
            found[self._words(ref.kind, ref.name)] = named
        for one in self._all.documents:
            if isinstance(one.document, document) and self._binds(one):
                self.by[str(one)] = one.digest
                found[str(one)] = one.document
        for policy in found.values():
            if isinstance(policy, Authorization):
                self._prove(policy)
        return tuple(found.items())

    def _prove(self, policy: Authorization) -> None:
        """A policy with a proof depends on the providers that it names."""
        wanted = (policy.proof.secret, policy.proof.source) if policy.proof is not None else ()
        for one in wanted:
            if one is not None:
                self._named(one.provider.kind, one.provider.name)

    def _binds(self, one: Governor) -> bool:
        home = {NAMESPACE_LABEL: self._namespace}
        return one.match is not None and one.match.namespace.matches(home) and one.match.job.matches(self._labels)

    def _named(self, kind: str, name: str | None) -> Document | None:
        if name is None:
            return None
        found = self._all.find(kind, self._namespace, name)
        if found is None:
            self.missing.append(self._words(kind, name))
            return None
        self.by[str(found)] = found.digest
        return found.document

    def _words(self, kind: str, name: str) -> str:
        return f"{kind} {name}" if kind.startswith("Cluster") else f"{kind} {self._namespace}/{name}"
