"""What gates want to know that only somebody outside can say: the questions, and what was found.

    a gate names an Enquiry → it is asked outside of any transaction (loops) → its Finding stands in the facts → the gate judges

Invariant: an enquiry names everything that is asked and holds no secret, so that the same question has the same key, and any change of it another one; a finding
is what was found out, never what it was found out with.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from controller.base import canonical
from controller.base.references import SecretSource
from controller.domain.proofs import Verdict
from controller.domain.trust import AccessResource, Decision, External, Identity, Proof, TrustLevel


class Enquiry(msgspec.Struct, frozen=True, kw_only=True):
    """A question to somebody outside; its kinds are subclasses. `of` is the document that wants to know, in the words of messages."""

    of: str
    namespace: str

    @property
    def key(self) -> str:
        """The same for the same question. Pure."""
        return canonical.digest({"kind": type(self).__name__, "asked": msgspec.to_builtins(self, str_keys=True)})

    @property
    def words(self) -> str:
        """What is waited for, for people. Pure."""
        return f"{self.of} is asked"


class Finding(msgspec.Struct, frozen=True):
    """What was found out; its kinds are subclasses."""


class NoAnswer(Finding, frozen=True):
    """Nobody could be asked for as long as one tries: what it means is a gate's to say, and it is never a yes."""

    message: str


class Away(msgspec.Struct, frozen=True):
    """Nobody can be asked just now; another try may find somebody. Not a finding: gates never see it."""

    message: str
    retry_after: timedelta | None = None


# Who stands behind an identity (gates 1 and 3)


class Vouching(Enquiry, frozen=True, kw_only=True):
    """Whether the provider of an identity stands behind it, with these scopes: for a run of `job`, and made of others where it is `narrowed_from` them."""

    job: str
    identity: Identity

    @property
    def words(self) -> str:
        return f"{self.of} is asked whether it vouches for {self.identity.subject.principal}"


class Vouched(Finding, frozen=True):
    """It does: for whom, how far, for which scopes, and what it attests; None: it says nothing about that."""

    principal: str | None = None
    level: TrustLevel | None = None
    scopes: tuple[str, ...] | None = None
    attestations: tuple[str, ...] | None = None


class NotVouched(Finding, frozen=True):
    """It does not, in its words: masked and cut."""

    message: str


# What a policy asks (gate 6)


class DecisionAsked(Enquiry, frozen=True, kw_only=True):
    """A decision point is asked what it makes of `input`, which is what rules see but for the time: that is told by whoever asks, in `time_zone`, as it is then.

    `home` is the namespace that the policy's references are read in, "" for a Cluster policy.
    """

    home: str
    external: External
    input: Mapping[str, Any]
    time_zone: str

    @property
    def words(self) -> str:
        """What is waited for, for people. Pure."""
        return f"{self.of} asks {self.external.where}"


class AccessAsked(Enquiry, frozen=True, kw_only=True):
    """The API server is asked whether `user`, who is in these groups, may do `verb`: on a resource in the namespace, or on a path."""

    user: str
    groups: tuple[str, ...]
    verb: str
    resource: AccessResource | None = None
    path: str | None = None

    @property
    def what(self) -> str:
        """What it would do, for people. Pure."""
        one = self.resource
        if one is None:
            return f"{self.verb} {self.path}"
        kind = f"{one.resource}.{one.group}" if one.group else one.resource
        part = f"/{one.subresource}" if one.subresource else ""
        return f"{self.verb} {kind}{part}{f' {one.name}' if one.name else ''} in the namespace {self.namespace}"

    @property
    def words(self) -> str:
        """What is waited for, for people. Pure."""
        return f"{self.of} asks the API server whether {self.user} may {self.what}"


class Judged(Finding, frozen=True):
    """What somebody decided; `message` says why, fit to be shown. `understood` False: what was said is no decision, and `message` tells what it was."""

    decision: Decision
    message: str = ""
    understood: bool = True


def no_decision(message: str) -> Judged:
    """The finding about an answer that is no decision: it denies, and the message tells what it was. Pure."""
    return Judged(Decision.Deny, message, understood=False)


# What proves that a run may be (gate 5)


class ProofEnquiry(Enquiry, frozen=True, kw_only=True):
    """Whether a proof of authority holds, as a policy wants it: that which came with a request (`presented`), else that of the policy's own source.

    `policy_namespace` is whose policy it is, "" for one of the whole cluster.
    """

    job: str
    policy_namespace: str
    rule: Proof
    presented: SecretSource | None = None

    @property
    def words(self) -> str:
        """What is waited for, for people. Pure."""
        return f"the proof ({self.rule.words}) that {self.of} asks for is looked at"


class ProofFinding(Finding, frozen=True):
    """What became of a proof."""

    verdict: Verdict
