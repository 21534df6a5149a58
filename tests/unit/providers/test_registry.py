"""Types of providers: what is wrong with one is told, and its type denies."""

import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from controller.base.clock import SystemClock
from controller.domain.trust import Provider
from controller.providers.calling import Caller
from controller.providers.instances import Instances, Key, refused
from controller.providers.protocol import GROUP, Downscoping, IdentityProvider, Refused, Renewing, Request, Revoking
from controller.providers.registry import BUILT_IN, PROVIDERS, Built, Registry
from controller.providers.surroundings import Surroundings

MODULE = """
class Good:
    def __init__(self, config, surroundings):
        if "bad" in config:
            raise ValueError(f"spec.good.bad: what is {config['bad']!r}?")
        if "crash" in config:
            raise RuntimeError("secret-in-a-crash")
    async def resolve(self, request):
        raise RuntimeError("asked")
class Sync:
    def __init__(self, config, surroundings): ...
    def resolve(self, request): ...
class None_:
    pass
class HalfRevoking(Good):
    def revoke(self, lease): ...
def make(config, surroundings):
    return object()
thing = 7
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules, as a distribution would install them."""
    tmp_path.chmod(0o755)
    (tmp_path / "jw_plug.py").write_text(MODULE)
    (tmp_path / "jw_broken.py").write_text("raise OSError('no library')")
    (tmp_path / "jw_exiting.py").write_text("raise SystemExit(3)")
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in ("jw_plug", "jw_broken", "jw_exiting"):
        sys.modules.pop(name, None)


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def around(**options: object) -> Surroundings:
    return Surroundings("CredentialProvider team/x", "team", clock=SystemClock(), **options)  # type: ignore[arg-type]


def test_a_plugin_makes_providers(plugins: Path) -> None:
    """By the name of its entry point."""
    registry = Registry(PROVIDERS, [point("good", "jw_plug:Good")])
    assert "good" in registry.types
    built = registry.build("good", {}, around())
    assert isinstance(built, Built)
    assert not built.ours


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("jw_broken:X", "OSError: no library"),
        ("jw_exiting:X", "ends the process"),
        ("jw_not_there:X", "No module named"),
        ("jw_plug:Missing", "AttributeError"),
        ("jw_plug:thing", "cannot be called"),
        ("jw_plug:Sync", "no coroutine `resolve(request)`"),
        ("jw_plug:None_", "no coroutine `resolve(request)`"),
        ("jw_plug:HalfRevoking", "`revoke` that is no coroutine"),
    ],
)
def test_s179_a_plugin_that_is_not_one_is_told_and_skipped_and_its_type_denies(
    plugins: Path, caplog: pytest.LogCaptureFixture, value: str, why: str
) -> None:
    """The others work on."""
    caplog.set_level(logging.WARNING)
    registry = Registry(PROVIDERS, [point("bad", value), point("good", "jw_plug:Good")])
    assert why in registry.skipped["bad"]
    assert [record.fields["type"] for record in caplog.records] == ["bad"]  # type: ignore[attr-defined]
    denied = registry.build("bad", {}, around())
    assert isinstance(denied, Refused)
    assert why in denied.message
    assert isinstance(registry.build("good", {}, around()), Built)


@pytest.mark.parametrize("place", [".", "jw_plug.py"])
def test_s179_nothing_is_loaded_that_everybody_may_write(plugins: Path, place: str) -> None:
    """Neither the file nor its folder; the module is not even imported."""
    (plugins / place).chmod(0o777)
    registry = Registry(PROVIDERS, [point("good", "jw_plug:Good")])
    assert "everybody may write" in registry.skipped["good"]
    assert "jw_plug" not in sys.modules


def test_a_name_that_is_taken_is_nobodys(plugins: Path) -> None:
    """Two distributions of one name cancel out; nobody takes the place of a built-in."""
    registry = Registry(
        PROVIDERS, [point("twice", "jw_plug:Good"), point("twice", "jw_plug:make"), point("env", "jw_plug:Good")]
    )
    assert "uninstall" in registry.skipped["twice"]
    assert isinstance(registry.build("twice", {}, around()), Refused)
    built = registry.build("env", {"keys": {"token": "X"}}, around())
    assert isinstance(built, Built)
    assert type(built.made).__module__ == "controller.providers.references"


def test_s079_a_type_that_is_missing_denies(plugins: Path) -> None:
    """By name, with what there is."""
    denied = Registry(PROVIDERS, []).build("acme", {}, around())
    assert isinstance(denied, Refused)
    assert "'acme' is not loaded" in denied.message
    assert "vault" in denied.message


def test_what_a_plugin_says_of_its_configuration_is_told_and_a_crash_is_not_quoted(plugins: Path) -> None:
    """ValueError is for people; other exceptions may hold anything."""
    registry = Registry(PROVIDERS, [point("good", "jw_plug:Good"), point("made", "jw_plug:make")])
    wrong = registry.build("good", {"bad": 1}, around())
    assert wrong == Refused("CredentialProvider team/x: spec.good.bad: what is 1?")
    crashed = registry.build("good", {"crash": 1}, around())
    assert isinstance(crashed, Refused)
    assert "secret" not in crashed.message
    assert isinstance(registry.build("made", {}, around()), Refused)


GOOD = {
    "env": {"keys": {"token": "TOKEN"}},
    "file": {"keys": {"token": "/x"}},
    "exec": {"command": "/bin/true"},
    "kubernetesSecret": {"name": "s", "keys": ["token"]},
    "serviceAccountToken": {"name": "a", "audiences": ["x"]},
    "oidcTokenExchange": {"tokenURL": "https://x/token", "subjectTokenFrom": {"serviceAccountToken": {"name": "a"}}},
    "vault": {
        "address": "https://x",
        "auth": {"kubernetes": {"role": "r", "serviceAccount": "a"}},
        "path": "a/b",
    },
}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_built_in_is_made_of_its_configuration_and_refuses_what_it_does_not_know(kind: str) -> None:
    """A misspelt restriction is no missing one."""
    built = Registry(PROVIDERS, []).build(kind, GOOD[kind], around())
    assert isinstance(built, Built)
    assert isinstance(built.made, IdentityProvider)
    assert built.ours
    wrong = Registry(PROVIDERS, []).build(kind, {**GOOD[kind], "nosuch": 1}, around())
    assert isinstance(wrong, Refused)
    assert f"spec.{kind}" in wrong.message
    assert "nosuch" in wrong.message
    assert isinstance(Registry(PROVIDERS, []).build(kind, {}, around()), Refused)


def test_the_built_ins_declare_what_they_can() -> None:
    """Who is asked for less, prolonged and taken back."""
    made = {kind: Registry(PROVIDERS, []).build(kind, GOOD[kind], around()) for kind in BUILT_IN}
    able = {
        ability.__name__: {
            kind for kind, built in made.items() if isinstance(built, Built) and isinstance(built.made, ability)
        }
        for ability in (Downscoping, Renewing, Revoking)
    }
    assert able == {
        "Downscoping": {"exec", "serviceAccountToken", "oidcTokenExchange"},
        "Renewing": {"vault"},
        "Revoking": {"vault"},
    }


ENV = {"envRef": {"name": "X"}}
SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("exec", {"command": "issue-token"}, "spec.exec.command"),
        ("exec", {"command": "/x", "env": [{"name": "A=B", "value": "x"}]}, "spec.exec.env[0].name"),
        ("exec", {"command": "/x", "env": [{"name": "A", "value": "x", "valueFrom": ENV}]}, "spec.exec.env[0]"),
        ("exec", {"command": "/x", "env": [{"name": "A", "valueFrom": {}}]}, "spec.exec.env[0].valueFrom"),
        ("kubernetesSecret", {"name": "s", "keys": []}, "spec.kubernetesSecret.keys"),
        ("kubernetesSecret", {"name": 1, "keys": ["a"]}, "spec.kubernetesSecret.name"),
        ("serviceAccountToken", {"name": "a", "audiences": []}, "spec.serviceAccountToken.audiences"),
        ("serviceAccountToken", {"name": "a", "audiences": ["x"], "lifetime": "1m"}, "lifetime"),
        ("serviceAccountToken", {"name": "a", "audiences": ["x"], "lifetime": "soon"}, "lifetime"),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "tokenURL": "http://sso.example.org/t"}, "tokenURL"),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "tokenURL": "https://me:pw@sso.example.org/t"}, "tokenURL"),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "clientSecretFrom": SECRET}, "clientSecretFrom"),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "subjectTokenType": "SAML"}, "subjectTokenType"),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "subjectTokenFrom": {}}, "subjectTokenFrom"),
        ("vault", {**GOOD["vault"], "address": "http://vault.example.org"}, "spec.vault.address"),
        ("vault", {**GOOD["vault"], "auth": {}}, "spec.vault.auth"),
        ("vault", {**GOOD["vault"], "auth": {**GOOD["vault"]["auth"], "tokenFrom": SECRET}}, "spec.vault.auth"),  # type: ignore[dict-item]
        ("vault", {**GOOD["vault"], "path": "../sys/seal"}, "spec.vault.path"),
        ("vault", {**GOOD["vault"], "path": "a/../../sys"}, "spec.vault.path"),
        ("vault", {**GOOD["vault"], "path": "/a?list=true"}, "spec.vault.path"),
        ("vault", {**GOOD["vault"], "path": "a/%2e%2e/b"}, "spec.vault.path"),
        ("vault", {**GOOD["vault"], "engine": "PKI"}, "spec.vault.engine"),
    ],
)
def test_wrong_configurations_name_their_field(kind: str, config: dict[str, object], field: str) -> None:
    """Before anybody is asked for anything."""
    wrong = Registry(PROVIDERS, []).build(kind, config, around())
    assert isinstance(wrong, Refused)
    assert field in wrong.message


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("env", GOOD["env"]),
        ("file", GOOD["file"]),
        ("exec", GOOD["exec"]),
        ("vault", {**GOOD["vault"], "auth": {"tokenFrom": ENV}}),
        ("vault", {**GOOD["vault"], "caFrom": {"fileRef": {"path": "/x"}}}),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "subjectTokenFrom": ENV}),
        ("oidcTokenExchange", {**GOOD["oidcTokenExchange"], "clientID": "c", "clientSecretFrom": ENV}),
    ],
)
def test_a_tenants_provider_reads_and_runs_nothing_on_the_controllers_host(
    kind: str, config: dict[str, object]
) -> None:
    """Not by a reference inside another type either."""
    denied = Registry(PROVIDERS, []).build(kind, config, around(host=False))
    assert isinstance(denied, Refused)
    assert "ClusterCredentialProvider" in denied.message
    assert isinstance(Registry(PROVIDERS, []).build(kind, config, around()), Built)


# Instances

HERE = Key("CredentialProvider", "team", "x")
EVERYWHERE = Key("ClusterCredentialProvider", "", "x")


def test_who_may_use_a_provider_is_said_by_its_owner() -> None:
    """Its own namespace; of a Cluster kind those that it names."""
    declared = Provider("env", {})
    assert refused(HERE, declared, "team") is None
    assert "another namespace" in str(refused(HERE, declared, "other"))
    assert "allowedNamespaces" in str(refused(EVERYWHERE, declared, "team"))
    assert refused(EVERYWHERE, Provider("env", {}, namespaces=("team",)), "team") is None
    assert refused(EVERYWHERE, Provider("env", {}, namespaces=("*",)), "any") is None
    assert "there is no CredentialProvider team/x" in str(refused(HERE, None, "team"))


async def test_a_caller_is_kept_until_its_declaration_changes(plugins: Path) -> None:
    """So a breaker outlives a call; what was removed is gone."""
    registry = Registry(PROVIDERS, [point("good", "jw_plug:Good")])
    instances = Instances(registry, lambda key: Surroundings(str(key), key.namespace, clock=SystemClock()))
    declared = Provider("good", {"url": "a"})
    first = await instances.of(HERE, declared, "team")
    assert isinstance(first, Caller)
    assert await instances.of(HERE, Provider("good", {"url": "a"}), "team") is first
    second = await instances.of(HERE, Provider("good", {"url": "b"}), "team")
    assert isinstance(second, Caller)
    assert second is not first
    assert isinstance(await instances.of(HERE, None, "team"), Refused)
    assert isinstance(await instances.of(HERE, declared, "other"), Refused)
    assert isinstance(await instances.of(HERE, Provider("nosuch", {}), "team"), Refused)
    assert await instances.of(HERE, declared, "team") is not first
    third = await instances.of(HERE, declared, "team")
    await instances.follow([HERE])
    assert await instances.of(HERE, declared, "team") is third
    await instances.follow([])
    assert await instances.of(HERE, declared, "team") is not third
    answer = await second.resolve(Request(namespace="team", job="j"))
    assert "RuntimeError: asked" in answer.message  # type: ignore[union-attr]
    await instances.close()
