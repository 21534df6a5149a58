"""CredentialProvider and ClusterCredentialProvider: a configured backend that credentials come from. PROVIDERS.md tells what each type gives."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from controller.kinds.models.base import (
    AbsolutePath,
    Duration,
    EnvName,
    Model,
    Name,
    NamespaceOrAll,
    Rule,
    Url,
    at_most_one,
    exactly_one,
    list_of,
    open_object,
)
from controller.kinds.models.meta import EnvRef, FileRef, SecretKeyRef, SecretSource, Status
from controller.kinds.models.target import ConfigKey, ObjectName

CredentialKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Word = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[!-~]+$")]


class EnvProvider(Model):
    """Variables of the controller's own environment; settings.allowEnv has to name them."""

    keys: dict[CredentialKey, EnvName] = Field(
        max_length=64, description="Credentials by name, and the variable of each."
    )


class FileProvider(Model):
    """Files on the controller's host; settings.allowFiles has to name their folders."""

    keys: dict[CredentialKey, AbsolutePath] = Field(
        max_length=64, description="Credentials by name, and the file of each."
    )


class ProgramVariable(Model):
    """A variable of the program."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("value", "valueFrom"),)

    name: EnvName = Field(description="Name of the variable.")
    value: str | None = Field(None, max_length=32768, description="Its value, where that is no secret.")
    value_from: SecretSource | None = Field(None, description="Where its value is read.")


class ExecProvider(Model):
    """A program that prints an ExecCredential, as credential plug-ins of kubectl do."""

    command: AbsolutePath = Field(description="The program, by its full path.")
    args: list[Annotated[str, Field(max_length=4096)]] = Field(default=[], max_length=64, description="Its arguments.")
    env: list[ProgramVariable] = Field(
        default=[],
        max_length=64,
        description="Its variables; it gets these, KUBERNETES_EXEC_INFO, and no others.",
        json_schema_extra=list_of("name"),
    )


class KubernetesSecretProvider(Model):
    """Keys of a Secret of the namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    keys: list[ConfigKey] = Field(
        min_length=1, max_length=64, description="Which of its keys are credentials.", json_schema_extra=list_of("")
    )


class ServiceAccountTokenProvider(Model):
    """A token of a service account of the namespace, for named audiences."""

    name: ObjectName = Field(description="Name of the ServiceAccount.")
    audiences: list[Word] = Field(
        min_length=1, max_length=16, description="Who may be shown the token.", json_schema_extra=list_of("")
    )
    lifetime: Duration = Field("1h", description="How long the token lives, 10 minutes at least.")


class Account(Model):
    """A service account whose token is exchanged."""

    name: ObjectName = Field(description="Name of the ServiceAccount.")
    audiences: list[Word] = Field(
        default=[], max_length=16, description="Who may be shown its token.", json_schema_extra=list_of("")
    )


class SubjectToken(Model):
    """Where the token comes from that is exchanged."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("envRef", "fileRef", "secretKeyRef", "serviceAccountToken"),)

    env_ref: EnvRef | None = Field(None, description="A variable of the controller's own environment.")
    file_ref: FileRef | None = Field(None, description="A file on the controller's host.")
    secret_key_ref: SecretKeyRef | None = Field(None, description="A key of a Secret.")
    service_account_token: Account | None = Field(None, description="A token of a service account.")


class TokenExchangeProvider(Model):
    """A token for another one, by RFC 8693."""

    unions: ClassVar[tuple[Rule, ...]] = (at_most_one("audience", "resource"),)

    token_url: Url = Field(alias="tokenURL", description="The token endpoint of the authorization server.")
    subject_token_from: SubjectToken = Field(description="The token that is exchanged.")
    subject_token_type: Literal["JWT", "AccessToken", "IDToken"] = Field("JWT", description="What that token is.")
    requested_token_type: Literal["JWT", "AccessToken", "IDToken"] = Field(
        "AccessToken", description="What is asked for."
    )
    client_id: Word | None = Field(None, alias="clientID", description="Who the controller is there.")
    client_secret_from: SecretSource | None = Field(None, description="Where the secret of that client is read.")
    client_authentication: Literal["Basic", "Post"] = Field("Basic", description="How the client shows it.")
    audience: Word | None = Field(None, description="Whom the new token is for.")
    resource: Url | None = Field(None, description="Whom the new token is for, as a URL (RFC 8707).")
    principal_claim: Word | None = Field(None, description="The claim of the new token that says who it is for.")
    trust_level_claim: Word | None = Field(
        None, description="The claim of the new token that says how far that one is trusted."
    )
    attestation_claim: Word | None = Field(
        None,
        description="The claim of the new token, a text or a list of them, that says what is attested about that one: `acr`, for instance.",
    )
    ca_from: SecretSource | None = Field(None, description="Certificates, in PEM, that vouch for the server.")


class VaultKubernetes(Model):
    """Logs in as a service account."""

    role: Word = Field(description="The role in Vault.")
    service_account: ObjectName = Field(description="Whose token is shown.")
    audience: Word | None = Field(None, description="Whom that token is for.")
    mount: Word = Field("kubernetes", description="Where the method is mounted.")


class VaultAppRole(Model):
    """Logs in with an AppRole."""

    role_id: Word = Field(alias="roleID", description="The role's id.")
    secret_id_from: SecretSource = Field(alias="secretIDFrom", description="Where its secret id is read.")
    mount: Word = Field("approle", description="Where the method is mounted.")


class VaultAuth(Model):
    """How the controller logs in."""

    unions: ClassVar[tuple[Rule, ...]] = (exactly_one("tokenFrom", "kubernetes", "appRole"),)

    token_from: SecretSource | None = Field(None, description="Where a token is read.")
    kubernetes: VaultKubernetes | None = Field(None, description="As a service account.")
    app_role: VaultAppRole | None = Field(None, description="With an AppRole.")


class VaultProvider(Model):
    """A secret of Vault, or one that it makes for the run."""

    address: Url = Field(description="Where Vault is.")
    auth: VaultAuth = Field(description="How the controller logs in.")
    path: Word = Field(description="The path of the secret.")
    engine: Literal["KV2", "Dynamic"] = Field(
        "KV2", description="A versioned secret, or one that is made for each run and revoked after it."
    )
    mount: Word = Field("secret", description="Where KV version 2 is mounted.")
    ca_from: SecretSource | None = Field(None, description="Certificates, in PEM, that vouch for the server.")


PluginType = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class Plugin(Model):
    """A type that an installed plug-in brings."""

    type: PluginType = Field(description="Name of its entry point in the group jobwarden.identity_providers.")
    config: dict[str, Any] = Field(
        default={},
        description="What it is told, at most 16 KiB; the plug-in says what is allowed.",
        json_schema_extra=open_object(),
    )


class CredentialProviderSpec(Model):
    """Where credentials come from."""

    unions: ClassVar[tuple[Rule, ...]] = (
        exactly_one(
            "env",
            "file",
            "exec",
            "kubernetesSecret",
            "serviceAccountToken",
            "oidcTokenExchange",
            "vault",
            "plugin",
        ),
    )

    env: EnvProvider | None = Field(None, description="Variables of the controller.")
    file: FileProvider | None = Field(None, description="Files of the controller's host.")
    exec_: ExecProvider | None = Field(None, alias="exec", description="A program.")
    kubernetes_secret: KubernetesSecretProvider | None = Field(None, description="A Secret of the namespace.")
    service_account_token: ServiceAccountTokenProvider | None = Field(None, description="A token of a service account.")
    oidc_token_exchange: TokenExchangeProvider | None = Field(None, description="A token for another one.")
    vault: VaultProvider | None = Field(None, description="HashiCorp Vault, or what speaks its HTTP.")
    plugin: Plugin | None = Field(None, description="A type of an installed plug-in.")
    timeout: Duration = Field("10s", description="How long one call may take.")


class ClusterCredentialProviderSpec(CredentialProviderSpec):
    """Where credentials come from, and whose runs may have them."""

    allowed_namespaces: list[NamespaceOrAll] = Field(
        default=[],
        max_length=256,
        description="Namespaces whose runs may use it, or `*` for all; empty: none.",
        json_schema_extra=list_of(""),
    )


class CredentialProviderRef(Model):
    """Names a provider."""

    name: Name = Field(description="Name of the provider.")
    kind: Literal["CredentialProvider", "ClusterCredentialProvider"] = Field(
        "CredentialProvider",
        description="`CredentialProvider` is looked up in the job's own namespace, `ClusterCredentialProvider` for all namespaces that it allows.",
    )


class CredentialProviderStatus(Status):
    """How the provider stands."""
