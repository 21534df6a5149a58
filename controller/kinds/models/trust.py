"""The kinds of trust: who a run is, what credentials it gets, what it must satisfy, who decides. Each is named by jobs, or binds to them by `match`."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import (
    AbsolutePath,
    Duration,
    DurationOrZero,
    EnvName,
    Model,
    Name,
    Rule,
    Url,
    at_least_one,
    at_most_one,
    exactly_one,
    list_of,
    open_object,
)
from controller.kinds.models.credential_provider import CredentialKey, CredentialProviderRef, PluginType
from controller.kinds.models.meta import Header, LabelKey, LabelValue, SecretSource, Status
from controller.kinds.models.target import ObjectName

TrustLevel = Literal["Untrusted", "Restricted", "Supervised", "Autonomous"]
Scope = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!#-\[\]-~]+$")]  # RFC 6749, section 3.3
Principal = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[!-~]([ -~]*[!-~])?$")]
Attestation = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
Host = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[0-9]{1,5})?$",
    ),
]
RelativePath = Annotated[
    str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")
]
ProofText = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[!-~]([ -~]*[!-~])?$")]
Certificates = Annotated[
    str, Field(min_length=64, max_length=65536, pattern=r"^\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s-]+-----\s*$")
]
Money = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,4})?$", max_length=14)]


class SelectorRequirement(Model):
    """One requirement on a label."""

    key: LabelKey = Field(description="The label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How its value is compared.")
    values: list[LabelValue] = Field(
        default=[],
        max_length=64,
        description="Values for In and NotIn; none for the others.",
        json_schema_extra=list_of(""),
    )


class LabelSelector(Model):
    """Labels that must be so; all requirements must hold, and an empty selector matches everything."""

    match_labels: dict[LabelKey, LabelValue] | None = Field(None, max_length=64, description="Labels and their values.")
    match_expressions: list[SelectorRequirement] = Field(default=[], max_length=64, description="Further requirements.")


class Match(Model):
    """Which jobs are governed; both selectors must match."""

    namespace_selector: LabelSelector | None = Field(
        None, description="Labels of the namespace. In files the only one is `kubernetes.io/metadata.name`."
    )
    job_selector: LabelSelector | None = Field(None, description="Labels of the ScheduledJob.")


class Subject(Model):
    """Who acts."""

    kind: Literal["Agent", "Service", "Workload", "User", "Composite", "DelegatedAgent"] = Field(
        description="What the principal is."
    )
    principal: Principal = Field(
        description="Its name where it is known: a SPIFFE ID, a subject of OIDC, a service account, a user."
    )
    run_as: Principal | None = Field(
        None, description="The account that the work is done under, for rules and evidence."
    )


class IdentityProfileSpec(Model):
    """A principal that runs act as."""

    subject: Subject = Field(description="Who acts.")
    provider_ref: CredentialProviderRef | None = Field(
        None,
        description="Who vouches for it, each time that a run is to act as it. Its answer may lower `trustLevel` and `scopes` and never raise them; without an answer nothing runs.",
    )
    scopes: list[Scope] = Field(
        default=[],
        max_length=64,
        description="What the principal may do, in the words of OAuth scopes.",
        json_schema_extra=list_of(""),
    )
    trust_level: TrustLevel = Field(
        "Untrusted",
        description="How far it is trusted. Who may write IdentityProfiles grants it; an identity written inside a job stays `Untrusted`.",
    )
    delegation: Literal["None", "OnBehalfOf", "Impersonation"] = Field(
        "None", description="Whether it acts for somebody else, as RFC 8693 tells the two apart."
    )
    attestation: Attestation | None = Field(
        None,
        description="What its provider has to attest about it, in the provider's own word: a class of authentication (`acr`) of OpenID Connect, a selector of SPIFFE. "
        "Where the provider does not, nothing runs; needs `providerRef`.",
    )


class InlineIdentity(Model):
    """A principal written inside a job. It is `Untrusted`, whatever it says of itself."""

    subject: Subject = Field(description="Who acts.")
    provider_ref: CredentialProviderRef | None = Field(
        None,
        description="Who vouches for it, each time that a run is to act as it. Its answer may lower `scopes` and never raise them; the level stays `Untrusted`.",
    )
    scopes: list[Scope] = Field(
        default=[],
        max_length=64,
        description="What the principal may do, in the words of OAuth scopes.",
        json_schema_extra=list_of(""),
    )
    delegation: Literal["None", "OnBehalfOf", "Impersonation"] = Field(
        "None", description="Whether it acts for somebody else, as RFC 8693 tells the two apart."
    )
    attestation: Attestation | None = Field(
        None,
        description="What its provider has to attest about it, in the provider's own word: a class of authentication (`acr`) of OpenID Connect, a selector of SPIFFE. "
        "Where the provider does not, nothing runs; needs `providerRef`.",
    )


class Delivery(Model):
    """One credential for each run. With neither `env` nor `file` a job takes it by `env.valueFrom.credentialRef`."""

    unions: ClassVar[tuple[Rule, ...]] = (at_most_one("env", "file"),)

    name: Name = Field(description="What it is called in messages, and by `env.valueFrom.credentialRef` of a job.")
    provider_ref: CredentialProviderRef | None = Field(
        None,
        description="Where it comes from; absent: from the provider of the run's identity. A run that acts as the one that triggered it gets credentials of that provider alone.",
    )
    key: CredentialKey | None = Field(
        None, description="Which credential of the provider; may be left out where it has one alone."
    )
    scopes: list[Scope] = Field(
        default=[],
        max_length=64,
        description="What it may be good for, at most. From the identity's provider it gets what the run's identity has of these; absent: all that it has.",
        json_schema_extra=list_of(""),
    )
    env: EnvName | None = Field(None, description="The variable that has it.")
    file: RelativePath | None = Field(
        None, description="The file that has it, below the folder that $CREDENTIALS_DIRECTORY names."
    )


class CredentialPolicySpec(Model):
    """Which credentials a run gets, how long they live, and what the runs that it triggers get of its identity."""

    deliver: list[Delivery] = Field(
        default=[],
        max_length=16,
        description="Credentials that are obtained for each run and end with it.",
        json_schema_extra=list_of("name"),
    )
    max_lifetime: Duration = Field(
        "1h",
        description="How long a credential may live at most, where its provider can say; each renewal asks for as much again.",
    )
    renew: bool = Field(
        default=True,
        description="Whether files get new contents before what is in them ends, while a run lasts. A variable keeps what it had at the start.",
    )
    children: Literal["None", "Inherit", "Downscope", "Independent"] = Field(
        "None",
        description="What runs that are triggered by a run get: `None` no identity at all, `Inherit` the same one, `Downscope` a narrower one from its "
        "provider, `Independent` their own, if it is trusted no further than the run that triggered them.",
    )
    child_scopes: list[Scope] = Field(
        default=[],
        max_length=64,
        description="With `Downscope`: what is left for them of the scopes of the run that triggers them.",
        json_schema_extra=list_of(""),
    )


class Paths(Model):
    """Parts of the file system."""

    read: list[AbsolutePath] = Field(
        default=[], max_length=64, description="What may be read.", json_schema_extra=list_of("")
    )
    write: list[AbsolutePath] = Field(
        default=[], max_length=64, description="What may be read and written.", json_schema_extra=list_of("")
    )


class Network(Model):
    """What can be reached."""

    mode: Literal["Unrestricted", "Restricted", "None"] = Field(
        "Unrestricted", description="Everything, only `hosts`, or nothing."
    )
    hosts: list[Host] = Field(
        default=[],
        max_length=64,
        description="Names that may be reached with `Restricted`, `*.example.com` for all below one; with a port, only that one.",
        json_schema_extra=list_of(""),
    )


class Box(Model):
    """What a run may see and reach while it runs."""

    enforcement: Literal["Warn", "Block"] = Field(
        "Block",
        description="What happens where something of it cannot be enforced: `Block` refuses the run, `Warn` tells.",
    )
    profile: Literal["None", "Restricted", "Isolated"] = Field(
        "None",
        description="`Restricted`: own user, no capabilities, read-only system, private home and /tmp, system calls filtered; `Isolated`: processes of "
        "its own and no network besides.",
    )
    paths: Paths | None = Field(None, description="What it may read and write besides what the profile gives.")
    network: Network | None = Field(None, description="What it may reach.")


class Evidence(Model):
    """An in-toto statement about each run, chained per job."""

    level: Literal["None", "Summary", "Full"] = Field("None", description="How much of the run it tells.")
    signing_key_ref: CredentialProviderRef | None = Field(
        None, description="The provider of the private key that signs it (PEM; Ed25519 or ECDSA P-256)."
    )


class TrustContractSpec(Model):
    """What a run must satisfy before it opens, and while it runs."""

    required_trust_level: TrustLevel = Field(
        "Untrusted", description="The lowest level that the identity of a run may have."
    )
    enforcement: Literal["None", "Warn", "Block"] = Field(
        "Block", description="What happens to a run of a lower level: `Block` refuses it, `Warn` tells, `None` records."
    )
    box: Box | None = Field(None, description="What its runs may see and reach while they run.")
    max_cost: Money | None = Field(
        None,
        description="What a run may cost at most, in the currency that its target reports. Where the target reports nothing, `enforcement` says what happens.",
    )
    audit: Literal["None", "Summary", "Full"] = Field(
        "Summary", description="How much of each decision is recorded with the run."
    )
    evidence: Evidence | None = Field(
        None, description="What is put on record about each run, for whoever trusts nobody."
    )


class ClusterTrustContractSpec(TrustContractSpec):
    """What runs must satisfy wherever it matches, whether or not their jobs name it."""

    match: Match | None = Field(None, description="Which jobs it binds; absent: all.")


class AuthorizationRule(Model):
    """One rule."""

    name: Name = Field(description="Name of the rule, as decisions show it.")
    if_: str = Field(
        alias="if",
        min_length=1,
        max_length=4096,
        description="A condition in CEL over `job`, `identity`, `trust`, `proof`, `request`, `parents`, `source` and `time`. One that fails denies.",
    )
    decision: Literal["Permit", "Deny", "Escalate"] = Field(
        description="What follows where the condition holds. Over all rules `Deny` beats `Escalate` beats `Permit`."
    )
    reason: str = Field("", max_length=512, description="Why, for people.")
    approvals: int = Field(1, ge=1, le=5, description="With `Escalate`: how many different people must approve.")
    allow_self: bool = Field(
        default=False, description="With `Escalate`: whether the person who asked for a run may approve it."
    )
    timeout: Duration = Field("24h", description="With `Escalate`: how long to wait; then the run is rejected.")


class JsonWebKeySet(Model):
    """The keys of whoever signs proofs."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("url", "keySet"),)

    url: Url | None = Field(
        None,
        description="Where the keys are published. They are fetched again every few minutes, and when a proof names a new one.",
    )
    key_set: Annotated[str, Field(min_length=2, max_length=65536, pattern=r"^\s*\{")] | None = Field(
        None, description="The keys themselves: the JSON of a JWK Set, as their owner publishes it. Public keys only."
    )


class ProvidedCredential(Model):
    """A credential of a provider."""

    provider_ref: CredentialProviderRef = Field(description="The provider.")
    key: CredentialKey | None = Field(
        None, description="Which of its credentials; may be left out where it has one alone."
    )


class VerifierPlugin(Model):
    """A verifier that an installed plug-in brings."""

    type: PluginType = Field(description="Name of its entry point in the group jobwarden.proof_verifiers.")
    config: dict[str, Any] = Field(
        default={},
        description="What it is told, at most 16 KiB; the plug-in says what is allowed.",
        json_schema_extra=open_object(),
    )


class Proof(Model):
    """What proves that a run may be. The proof itself comes with the request for the run, and never stands in a manifest."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("methods", "plugin"),)

    required: bool = Field(
        default=False,
        description="Whether runs without a valid proof are refused. Else rules decide, by `proof.verified`.",
    )
    methods: list[Literal["JWT", "OIDC", "HMAC", "APIKey", "MTLS"]] = Field(
        default=[],
        min_length=1,
        max_length=3,
        description="Which proofs count: `JWT` a token signed with a key of `jwks`, `OIDC` one signed with a key that the issuer publishes, `HMAC` a token "
        "under the shared secret of `secretFrom`, `APIKey` that secret itself, `MTLS` a token signed by the holder of a certificate of `clientAuthorities`.",
        json_schema_extra=list_of(""),
    )
    plugin: VerifierPlugin | None = Field(
        None,
        description="A verifier of an installed plug-in, in place of `methods`. What it states of a proof is compared with `issuer`, `audience` and `maxAge`, "
        "and an id that it states is good for one run.",
    )
    timeout: Duration = Field("10s", description="With `plugin`: how long one look may take.")
    issuer: ProofText | None = Field(None, description="The claim `iss` that proofs have.")
    audience: ProofText | None = Field(None, description="What the claim `aud` of proofs names, alone or among others.")
    jwks: JsonWebKeySet | None = Field(None, description="With `JWT`: the keys that proofs are signed with.")
    server_authorities: Certificates | None = Field(
        None,
        description="Certificates, in PEM, that vouch for the server of `jwks.url` or of the issuer. Default: what the system trusts.",
    )
    client_authorities: Certificates | None = Field(
        None, description="With `MTLS`: certificates, in PEM, of the authorities whose clients may sign proofs."
    )
    secret_from: ProvidedCredential | None = Field(
        None, description="With `HMAC` and `APIKey`: the secret that proofs are checked with."
    )
    proof_from: ProvidedCredential | None = Field(
        None, description="Where the proof of a run is that nobody brought one for, as of a schedule."
    )
    max_age: Duration = Field("1h", description="How old a proof may be at most, whatever it says of its own end.")
    clock_skew: DurationOrZero = Field(
        "30s", description="How much the clocks of others may differ from ours, at most 5m."
    )


class Escalation(Model):
    """How people are asked."""

    approvals: int = Field(1, ge=1, le=5, description="How many different people must approve.")
    allow_self: bool = Field(default=False, description="Whether the person who asked for a run may approve it.")
    timeout: Duration = Field("24h", description="How long to wait; then the run is rejected.")


class DecisionPlugin(Model):
    """A decision point that an installed plug-in brings."""

    type: PluginType = Field(description="Name of its entry point in the group jobwarden.authorization_providers.")
    config: dict[str, Any] = Field(
        default={},
        description="What it is told, at most 16 KiB; the plug-in says what is allowed.",
        json_schema_extra=open_object(),
    )


class ExternalDecision(Model):
    """A decision point: one that is asked over HTTP, as Open Policy Agent is by its Data API (`{"input": …}` is posted, `{"result": …}` is answered), or a plug-in."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("url", "plugin"),)

    url: Url | None = Field(
        None,
        description="Where the decision is, such as https://opa.example.org/v1/data/jobs/decision: https, or http to this host. The result is `true`, "
        "`false`, or an object with `allow` (true or false) or `decision` (`Permit`, `Deny`, `Escalate`) and perhaps a `reason`; anything else denies.",
    )
    plugin: DecisionPlugin | None = Field(None, description="A decision point of an installed plug-in.")
    timeout: Duration = Field("10s", description="How long one question may take.")
    ca_from: SecretSource | None = Field(None, description="Certificates, in PEM, that vouch for the server.")
    headers_from: list[Header] = Field(
        default=[],
        max_length=16,
        description="Headers whose values are secrets, such as Authorization.",
        json_schema_extra=list_of("name"),
    )
    escalation: Escalation | None = Field(None, description="How people are asked where the answer is `Escalate`.")


class AccessResource(Model):
    """Something of the API server, in the namespace of the job."""

    group: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = Field(
        "", description="Its API group; empty for the core."
    )
    resource: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")] = (
        Field(description="The kind in plural, such as `jobs`.")
    )
    subresource: (
        Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None
    ) = Field(None, description="A part of it, such as `status`.")
    name: ObjectName | None = Field(None, description="The name of one; absent: all of them.")


class AccessReview(Model):
    """A SubjectAccessReview: whether somebody may do something, by the API server's own rules. The verb is asked of the ScheduledJob itself where nothing else is named."""

    unions: ClassVar[tuple[Rule, ...]] = (at_most_one("resource", "nonResource"),)

    subject: Literal["Principal", "RunAs", "Requester"] = Field(
        "Principal",
        description="Who is meant: the principal of the run's identity, or its `runAs`, where that identity is trusted at least as `Restricted`; or the user "
        "who asked for the run.",
    )
    groups: list[Principal] = Field(
        default=[],
        max_length=16,
        description="Groups that the subject is in besides `system:authenticated`, which everybody is in, and the groups of a service account.",
        json_schema_extra=list_of(""),
    )
    verb: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^(\*|[a-z]+)$")] = Field(
        description="What the subject must be allowed to do: `create`, `get`, or one of your own, such as `run`."
    )
    resource: AccessResource | None = Field(None, description="Something else than the ScheduledJob.")
    non_resource: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/[!-~]*$")] | None = Field(
        None, description="A path of the API server, such as `/metrics`."
    )


class AuthorizationPolicySpec(Model):
    """Who may run: by rules, by a decision point, by the API server's rights. Over all that is said `Deny` beats `Escalate` beats `Permit`."""

    unions: ClassVar[tuple[Rule, ...]] = (at_least_one("rules", "external", "subjectAccessReview"),)

    rules: list[AuthorizationRule] = Field(
        default=[],
        min_length=1,
        max_length=64,
        description="All of them are asked; where one denies, nothing else is.",
        json_schema_extra=list_of("name"),
    )
    default: Literal["Permit", "Deny"] = Field(
        "Deny",
        description="What holds where no rule does, in a policy of rules alone: a decision point leaves nothing open.",
    )
    external: ExternalDecision | None = Field(None, description="A decision point, which has to permit as well.")
    subject_access_review: AccessReview | None = Field(
        None, description="What the API server has to allow as well; for controllers that watch a cluster."
    )
    proof: Proof | None = Field(None, description="What has to be proved before anybody is asked.")


class ClusterAuthorizationPolicySpec(AuthorizationPolicySpec):
    """Who may run wherever it matches, whether or not the jobs name it."""

    match: Match | None = Field(None, description="Which jobs it governs; absent: all.")


class IdentityProfileRef(Model):
    """Names an IdentityProfile of the job's namespace."""

    name: Name = Field(description="Name of the IdentityProfile.")


class CredentialPolicyRef(Model):
    """Names a CredentialPolicy of the job's namespace."""

    name: Name = Field(description="Name of the CredentialPolicy.")


class TrustContractRef(Model):
    """Names a contract."""

    name: Name = Field(description="Name of the contract.")
    kind: Literal["TrustContract", "ClusterTrustContract"] = Field(
        "TrustContract", description="`TrustContract` is looked up in the job's own namespace."
    )


class AuthorizationPolicyRef(Model):
    """Names a policy."""

    name: Name = Field(description="Name of the policy.")
    kind: Literal["AuthorizationPolicy", "ClusterAuthorizationPolicy"] = Field(
        "AuthorizationPolicy", description="`AuthorizationPolicy` is looked up in the job's own namespace."
    )


class Trusting(Model):
    """What a job says of trust."""

    unions: ClassVar[tuple[Rule, ...]] = (
        at_most_one("identity", "identityRef"),
        at_most_one("credentialPolicy", "credentialPolicyRef"),
        at_most_one("trustContract", "trustContractRef"),
    )

    identity_ref: IdentityProfileRef | None = Field(None, description="Who its runs are.")
    identity: InlineIdentity | None = Field(
        None, description="Who its runs are, written here. Such an identity is never trusted further than `Untrusted`."
    )
    credential_policy_ref: CredentialPolicyRef | None = Field(
        None, description="What the runs that its runs trigger get of their identity."
    )
    credential_policy: CredentialPolicySpec | None = Field(None, description="The same, written here.")
    trust_contract_ref: TrustContractRef | None = Field(None, description="What its runs must satisfy.")
    trust_contract: TrustContractSpec | None = Field(None, description="The same, written here.")
    authorization_policy_ref: AuthorizationPolicyRef | None = Field(
        None, description="Who decides whether its runs may open, besides the Cluster policies that match it."
    )


class TrustStatus(Status):
    """How the document stands."""
