"""Trust as the engine reads it: who a run is, what it must satisfy, who decides, and what was decided.

`resolve_trust` makes these from valid documents; the gates decide over them; a run keeps its `Grant`. Nothing here ever holds a secret: providers
are named, never called. `encode_grant`/`decode_grant` are exact inverses.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from controller.base.references import SecretSource
from controller.base.structs import described


class TrustLevel(StrEnum):
    """How far a principal is trusted, lowest first. Source: spec-scheduler 6.2."""

    Untrusted = "Untrusted"
    Restricted = "Restricted"
    Supervised = "Supervised"
    Autonomous = "Autonomous"

    @property
    def rank(self) -> int:
        """0 for the lowest."""
        return _RANKS[self]


_RANKS: Mapping[TrustLevel, int] = {level: rank for rank, level in enumerate(TrustLevel)}


class SubjectKind(StrEnum):
    """What a principal is."""

    Agent = "Agent"
    Service = "Service"
    Workload = "Workload"
    User = "User"
    Composite = "Composite"
    DelegatedAgent = "DelegatedAgent"


class Delegation(StrEnum):
    """Whether a principal acts for somebody else. Source: RFC 8693 section 1.1."""

    Nothing = "None"
    OnBehalfOf = "OnBehalfOf"
    Impersonation = "Impersonation"


class Enforcement(StrEnum):
    """What a contract that is not satisfied leads to."""

    Nothing = "None"
    Warn = "Warn"
    Block = "Block"

    @property
    def rank(self) -> int:
        """0 for the mildest."""
        return list(Enforcement).index(self)


class Children(StrEnum):
    """What the jobs that a run triggers get of its credentials. Source: spec-scheduler 7."""

    Nothing = "None"
    Inherit = "Inherit"
    Downscope = "Downscope"
    Independent = "Independent"


class Profile(StrEnum):
    """How much of the machine a run sees, widest first."""

    Nothing = "None"
    Restricted = "Restricted"
    Isolated = "Isolated"

    @property
    def rank(self) -> int:
        """0 for the widest."""
        return list(Profile).index(self)


class NetworkMode(StrEnum):
    """What a run reaches, widest first."""

    Unrestricted = "Unrestricted"
    Restricted = "Restricted"
    Nothing = "None"

    @property
    def rank(self) -> int:
        """0 for the widest."""
        return list(NetworkMode).index(self)


class Detail(StrEnum):
    """How much is recorded."""

    Nothing = "None"
    Summary = "Summary"
    Full = "Full"

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Detail).index(self)


class Decision(StrEnum):
    """What a rule, a decision point or a gate says."""

    Permit = "Permit"
    Warn = "Warn"
    Escalate = "Escalate"
    Deny = "Deny"


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base: immutable, and silent about defaults when encoded."""


class Ref(Struct, frozen=True, omit_defaults=True):
    """Names a resource; a kind that begins with Cluster has no namespace."""

    name: str
    kind: str


class Subject(Struct, frozen=True, omit_defaults=True):
    """Who acts. `run_as` is the account that the work is done under, in the words of whoever checks it."""

    kind: SubjectKind
    principal: str
    run_as: str | None = None


class Identity(Struct, frozen=True, omit_defaults=True):
    """A principal, as declared or, in a `Grant`, as a run acts as it. With a provider, the provider's answer may lower level and scopes and never raise them.

    `attestation` is what the provider has to attest about the principal.

    `narrowed_from` are the scopes that `scopes` were made of by `children: Downscope`: whatever is asked for in its name is narrowed anew.
    """

    subject: Subject
    provider: Ref | None = None
    scopes: tuple[str, ...] = ()  # (): nothing is said about scopes
    level: TrustLevel = TrustLevel.Untrusted
    delegation: Delegation = Delegation.Nothing
    attestation: str | None = None
    narrowed_from: tuple[str, ...] = ()


class Delivery(Struct, frozen=True, omit_defaults=True):
    """One credential for a run: from which provider (None: the identity's), which key of it, and where it goes. Neither env nor file: the job takes
    it by `env.valueFrom.credentialRef`.
    """

    name: str
    provider: Ref | None = None
    key: str | None = None
    scopes: tuple[str, ...] = ()
    env: str | None = None
    file: str | None = None


class CredentialPolicy(Struct, frozen=True, omit_defaults=True):
    """How credentials reach a run, how long they live, and what its children get; `child_scopes` with Downscope, at most."""

    deliver: tuple[Delivery, ...] = ()
    max_lifetime: timedelta = timedelta(hours=1)
    renew: bool = True
    children: Children = Children.Nothing
    child_scopes: tuple[str, ...] = ()


class Box(Struct, frozen=True, omit_defaults=True):
    """What a run may see and reach. `None` for a list of paths: whatever the profile gives."""

    enforcement: Enforcement = Enforcement.Block
    profile: Profile = Profile.Nothing
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    network: NetworkMode = NetworkMode.Unrestricted
    hosts: tuple[str, ...] = ()


class Evidence(Struct, frozen=True, omit_defaults=True):
    """Which statement about a run is kept, and what signs it."""

    level: Detail = Detail.Nothing
    signing_key: Ref | None = None


class Contract(Struct, frozen=True, omit_defaults=True):
    """What a run must satisfy."""

    required: TrustLevel = TrustLevel.Untrusted
    enforcement: Enforcement = Enforcement.Block
    box: Box = Box()
    max_cost: Decimal | None = None
    audit: Detail = Detail.Summary
    evidence: Evidence = Evidence()


class Rule(Struct, frozen=True, omit_defaults=True):
    """One rule of an authorization policy: CEL text and what follows when it holds. The last three belong to Escalate."""

    name: str
    condition: str
    decision: Decision
    reason: str = ""
    approvals: int = 1
    allow_self: bool = False
    timeout: timedelta = timedelta(hours=24)


class ProofMethod(StrEnum):
    """How somebody proves that a run is wanted by who may want it."""

    JWT = "JWT"
    OIDC = "OIDC"
    HMAC = "HMAC"
    APIKey = "APIKey"
    MTLS = "MTLS"
    Plugin = "Plugin"


class Credential(Struct, frozen=True, omit_defaults=True):
    """One credential of a provider; without a key, the only one that it has."""

    provider: Ref
    key: str | None = None


class Plugin(Struct, frozen=True, omit_defaults=True):
    """Something that an installed distribution brings: the name of its entry point, and what it is told."""

    type: str
    config: Mapping[str, Any] = {}


class Proof(Struct, frozen=True, omit_defaults=True):
    """What proves that a run may be. `jwks` is a JWK Set in JSON, `*_authorities` are certificates in PEM: all of that is public.

    `secret` is what HMAC and APIKey are checked with, `source` where the proof is when nobody brought one along. With `plugin` that is the only method, and
    `timeout` bounds one look.
    """

    required: bool = False
    methods: tuple[ProofMethod, ...] = ()
    issuer: str | None = None
    audience: str | None = None
    jwks: str | None = None
    jwks_url: str | None = None
    server_authorities: str | None = None
    client_authorities: str | None = None
    secret: Credential | None = None
    source: Credential | None = None
    max_age: timedelta = timedelta(hours=1)
    clock_skew: timedelta = timedelta(seconds=30)
    plugin: Plugin | None = None
    timeout: timedelta = timedelta(seconds=10)

    @property
    def words(self) -> str:
        """What proofs are looked at by, for people. Pure."""
        return " or ".join(self.methods) if self.plugin is None else f"the plug-in {self.plugin.type}"


class Escalation(Struct, frozen=True, omit_defaults=True):
    """How people are asked where a decision point says Escalate."""

    approvals: int = 1
    allow_self: bool = False
    timeout: timedelta = timedelta(hours=24)


class External(Struct, frozen=True, omit_defaults=True):
    """A decision point: one that is asked over HTTP, or a plug-in. What it is shown as headers and whom it is trusted by (PEM) is read when it is asked."""

    url: str = ""
    timeout: timedelta = timedelta(seconds=10)
    authority: SecretSource | None = None
    headers: tuple[tuple[str, SecretSource], ...] = ()
    escalation: Escalation = Escalation()
    plugin: Plugin | None = None

    @property
    def where(self) -> str:
        """What is asked, for people. Pure."""
        return self.url if self.plugin is None else f"the plug-in {self.plugin.type}"


class AccessSubject(StrEnum):
    """Whose rights the API server is asked about."""

    Principal = "Principal"
    RunAs = "RunAs"
    Requester = "Requester"


@described
class AccessResource(Struct, frozen=True, omit_defaults=True):
    """Something of the API server; `name` None: all of that kind."""

    resource: str
    group: str = ""
    subresource: str | None = None
    name: str | None = None


class AccessReview(Struct, frozen=True, omit_defaults=True):
    """What the API server has to allow. Neither `resource` nor `path`: the ScheduledJob itself is meant. Source: SubjectAccessReview, authorization.k8s.io/v1."""

    verb: str
    subject: AccessSubject = AccessSubject.Principal
    groups: tuple[str, ...] = ()
    resource: AccessResource | None = None
    path: str | None = None


class Authorization(Struct, frozen=True, omit_defaults=True):
    """Who may run. Rules, the decision point and the API server all have their say; `default` is for rules alone, where none of them holds.

    `proof` is what has to be proved before any of them is asked.
    """

    rules: tuple[Rule, ...] = ()
    default: Decision = Decision.Deny
    external: External | None = None
    access: AccessReview | None = None
    proof: Proof | None = None


class Provider(Struct, frozen=True, omit_defaults=True):
    """A configured backend: `type` is the field that its document sets (`env`, `vault`, …), `config` what it holds. `namespaces` None: its own."""

    type: str
    config: Mapping[str, Any]
    timeout: timedelta = timedelta(seconds=10)
    namespaces: tuple[str, ...] | None = None


class Operator(StrEnum):
    """How a selector compares a label. Source: Kubernetes label selectors."""

    In = "In"
    NotIn = "NotIn"
    Exists = "Exists"
    DoesNotExist = "DoesNotExist"


class Requirement(Struct, frozen=True, omit_defaults=True):
    """One requirement on a label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil it; as in Kubernetes, who lacks the label is `NotIn` whatever the values are. Pure."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.In:
                return value is not None and value in self.values
            case Operator.NotIn:
                return value not in self.values
            case Operator.Exists:
                return value is not None
            case Operator.DoesNotExist:
                return value is None


class Selector(Struct, frozen=True, omit_defaults=True):
    """A label selector; an empty one matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether all requirements hold. Pure."""
        return all(one.holds(labels) for one in self.requirements)


class Match(Struct, frozen=True, omit_defaults=True):
    """Which jobs a Cluster kind governs: both selectors must match."""

    namespace: Selector = Selector()
    job: Selector = Selector()


class JobTrust(Struct, frozen=True, omit_defaults=True):
    """What a job says of trust. Of each pair at most one is set."""

    identity: Identity | None = None
    identity_ref: str | None = None
    credentials: CredentialPolicy | None = None
    credentials_ref: str | None = None
    contract: Contract | None = None
    contract_ref: Ref | None = None
    authorization_ref: Ref | None = None


class Presentation(Struct, frozen=True, omit_defaults=True):
    """Where a proof is that came with a request; never the proof. `use` names what it is used for: attempts at the same thing share it, and no proof with
    an id serves two.
    """

    use: str
    source: SecretSource | None = None


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What one gate said. `reason` is of `domain.reasons`, `facts` are what it looked at, redacted."""

    gate: str
    decision: Decision
    reason: str
    message: str
    facts: Mapping[str, str] = {}


class Grant(Struct, frozen=True, omit_defaults=True):
    """What a run was opened, or refused, under: kept with the run for as long as the run is.

    `digest` is the effective digest with everything that governed; `governors` are what that was, by `Kind namespace/name`, with their digests;
    `presented` is where its proof was, for another attempt.
    """

    digest: str
    identity: Identity | None = None
    credentials: CredentialPolicy = CredentialPolicy()
    contract: Contract = Contract()
    outcomes: tuple[Outcome, ...] = ()
    governors: Mapping[str, str] = {}
    presented: Presentation | None = None


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Grant)


def encode_grant(grant: Grant | None) -> bytes | None:
    """JSON bytes of a grant; None of None. Pure."""
    return None if grant is None else _encoder.encode(grant)


def decode_grant(data: bytes | None) -> Grant | None:
    """Inverse of `encode_grant`. Pure. Errors: msgspec.ValidationError means a damaged row."""
    return None if data is None else _decoder.decode(data)
