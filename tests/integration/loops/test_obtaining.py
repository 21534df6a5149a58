"""What a run is given: asked for once it is open, written down before where it can be revoked, and refused in words."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from controller.app.credentials import around, providers
from controller.base.clock import SystemClock
from controller.base.errors import Conflict, NotFound
from controller.base.references import Allowed
from controller.domain.trust import (
    CredentialPolicy,
    Delivery,
    Grant,
    Identity,
    Ref,
    Subject,
    SubjectKind,
    TrustLevel,
)
from controller.executors.credentials import Given, Token
from controller.gates.enquiries import Away, NotVouched, Vouched, Vouching
from controller.loops import obtaining
from controller.loops.obtaining import Obtained, Obtaining, ProviderAway
from controller.providers.protocol import GROUP, Answer, Refused, Request, Secret, Session, Unavailable
from controller.providers.registry import PROVIDERS, Registry
from controller.providers.surroundings import Surroundings
from controller.store import cleanups, governors
from controller.store.database import open_store
from controller.store.store import Store
from tests import builders
from tests.integration.dispatch.world import World
from tests.integration.store.test_cleanups import running
from tests.integration.store.test_governors import declare

SPEC = builders.spec_of(builders.job("job", script="true"))
ACME, MINT = Ref("acme", "CredentialProvider"), Ref("mint", "CredentialProvider")


class Acme:
    """A plug-in that does what the test says."""

    answers: ClassVar[list[Answer]] = []
    asked: ClassVar[list[Request]] = []
    revoked: ClassVar[list[str]] = []

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Nothing can be told to it."""

    async def resolve(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answers.pop(0)

    async def revoke(self, lease: str) -> Refused | Unavailable | None:
        self.revoked.append(lease)
        return None


class Mint(Acme):
    """One that can make less of what it gave, and shows what it made it of."""

    made_of: ClassVar[list[Session]] = []

    async def downscope(self, request: Request, session: Session) -> Answer:
        self.made_of.append(session)
        return await self.resolve(request)


@pytest.fixture(autouse=True)
def acme() -> None:
    """As if nobody had ever asked it."""
    Acme.answers, Acme.asked, Acme.revoked, Mint.made_of = [], [], [], []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/jobwarden.db")
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    declare(world, "CredentialProvider", "acme", {"plugin": {"type": "acme"}})
    declare(world, "CredentialProvider", "mint", {"plugin": {"type": "mint"}})
    declare(world, "CredentialProvider", "nope", {"plugin": {"type": "nope"}})
    return world


@pytest.fixture
def giver(store: Store) -> Obtaining:
    points = [EntryPoint(name.lower(), f"{__name__}:{name}", GROUP) for name in ("Acme", "Mint")]

    def make() -> Any:
        return providers(Registry(PROVIDERS, points), around(SystemClock(), allowed=Allowed(), environment={}))

    return Obtaining(store, make, SystemClock())


async def given(giver: Obtaining, world: World, *deliveries: Delivery, who: Identity | None = None) -> Any:
    """What a run with these deliveries is given."""
    if not world.live():
        running(world)
    [run] = world.live()
    policy = CredentialPolicy(deliver=deliveries, max_lifetime=timedelta(minutes=5))
    grant = Grant(digest="", identity=who, credentials=policy)
    found = await giver.for_run(msgspec.structs.replace(run, grant=grant), SPEC)
    return list(found.given) if isinstance(found, Obtained) else found


async def test_a_credential_is_asked_for_in_the_name_of_the_run(giver: Obtaining, world: World) -> None:
    """For as long as the policy says, and with the scopes of the delivery."""
    Acme.answers.append(Session(credentials={"token": Secret("hush")}, scopes=("read",)))
    found = await given(giver, world, Delivery("t", ACME, "token", ("read",), env="TOKEN"))
    assert found == [Given("t", b"hush", env="TOKEN")]
    [request] = Acme.asked
    assert (request.namespace, request.job, request.scopes) == ("default", "job", ("read",))
    assert request.keys == ("token",)
    assert request.lifetime == timedelta(minutes=5)


async def test_a_lease_is_written_down_and_revoked(giver: Obtaining, world: World, store: Store) -> None:
    """Before it is used; and what was never granted leaves nothing to undo."""
    Acme.answers.append(Session(credentials={"token": Secret("hush")}, lease="lease-1"))
    await given(giver, world, Delivery("t", ACME, "token", env="TOKEN"))
    [run] = [one.name for one in world.runs()]
    [record] = await store.read(lambda tx: cleanups.of_run(tx, run))
    assert record.handle == b"lease-1"
    await giver.undo(record.provider, record.namespace, record.handle)
    assert Acme.revoked == ["lease-1"]


async def test_what_a_provider_refuses_stays_refused(giver: Obtaining, world: World, store: Store) -> None:
    """In its words, and with nothing to undo."""
    Acme.answers.append(Refused("no such role"))
    found = await given(giver, world, Delivery("t", ACME, "token", env="TOKEN"))
    assert isinstance(found, str)
    assert "the credential t" in found
    assert "no such role" in found
    [run] = [one.name for one in world.runs()]
    assert await store.read(lambda tx: cleanups.of_run(tx, run)) == []


async def test_a_provider_that_is_away_is_asked_again_for_a_while(
    giver: Obtaining, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the run cannot be started."""
    monkeypatch.setattr(obtaining, "_PAUSE_S", 0.01)
    Acme.answers += [Unavailable("busy"), Session(credentials={"token": Secret("hush")})]
    assert await given(giver, world, Delivery("t", ACME, env="TOKEN")) == [Given("t", b"hush", env="TOKEN")]
    Acme.answers.append(Unavailable("come back tomorrow", timedelta(hours=1)))
    assert "tomorrow" in await given(giver, world, Delivery("t", ACME, env="TOKEN"))
    monkeypatch.setattr(obtaining, "_PATIENCE", timedelta(0))
    Acme.answers.append(Unavailable("busy"))
    assert "busy" in await given(giver, world, Delivery("t", ACME, env="TOKEN"))


async def test_a_provider_that_nobody_declares_gives_nothing(giver: Obtaining, world: World) -> None:
    """And says what is missing; one of another namespace is as good as none."""
    missing = Ref("nobody", "CredentialProvider")
    assert "nobody" in await given(giver, world, Delivery("t", missing, env="TOKEN"))
    with pytest.raises(NotFound):
        await giver.undo(missing, "default", b"lease")
    with pytest.raises(NotFound):
        await giver.key(ACME, "elsewhere")


async def test_the_only_credential_needs_no_name_and_of_several_one_is_named(giver: Obtaining, world: World) -> None:
    """Otherwise nobody knows which is meant."""
    Acme.answers.append(Session(credentials={"a": Secret("1"), "b": Secret("2")}))
    assert "name one in key" in await given(giver, world, Delivery("t", ACME, env="TOKEN"))


async def test_a_key_that_signs_is_the_only_one_of_its_provider(giver: Obtaining, world: World) -> None:
    """What cannot be had now is asked for again, what is odd is told."""
    assert world
    Acme.answers += [
        Session(credentials={"key": Secret("PEM")}),
        Session(credentials={"a": Secret("1"), "b": Secret("2")}),
        Unavailable("busy"),
    ]
    assert await giver.key(ACME, "default") == b"PEM"
    with pytest.raises(Conflict):
        await giver.key(ACME, "default")
    with pytest.raises(ProviderAway):
        await giver.key(ACME, "default")


async def test_the_key_of_a_cluster_contract_is_allowed_to_no_namespace(giver: Obtaining, world: World) -> None:
    """Who may have a provider could have its key delivered to a run; the controller signs for the cluster without that."""
    ref = Ref("signer", "ClusterCredentialProvider")
    declare(world, "ClusterCredentialProvider", "signer", {"plugin": {"type": "acme"}})
    with pytest.raises(NotFound, match="does not allow the namespace"):
        await giver.key(ref, "default")
    key = {"name": ref.name, "kind": ref.kind}
    declare(world, "ClusterTrustContract", "on-record", {"evidence": {"level": "Summary", "signingKeyRef": key}})
    Acme.answers.append(Session(credentials={"key": Secret("PEM")}))
    assert await giver.key(ref, "default") == b"PEM"


async def test_a_pod_gets_a_token_of_its_own_account_from_its_node(store: Store, world: World) -> None:
    """Where the settings allow that account to jobs, for one audience, as a file; anything else is asked for here."""
    declare(world, "CredentialProvider", "one", {"serviceAccountToken": {"name": "deployer", "audiences": ["a"]}})
    declare(world, "CredentialProvider", "two", {"serviceAccountToken": {"name": "deployer", "audiences": ["a", "b"]}})
    running(world)
    [run] = world.live()
    one, two = Ref("one", "CredentialProvider"), Ref("two", "CredentialProvider")
    pod = builders.spec_of(builders.job("job", script="true", executor="Kubernetes"))
    other = {"spec": {"serviceAccountName": "other", "containers": [{"name": "c", "image": "i"}]}}
    named = builders.spec_of(builders.bare("job", pod={"template": other}))
    file = Delivery("t", one, file="deep/token")
    hour, token = timedelta(minutes=20), Token("t", "deep/token", "deployer", "a", timedelta(minutes=20))
    for accounts, spec, delivery, expected in (
        (["deployer"], pod, file, token),
        (["deployer"], pod, msgspec.structs.replace(file, provider=two, scopes=("a",)), token),
        (["deployer"], pod, msgspec.structs.replace(file, provider=two), None),
        (["deployer"], pod, msgspec.structs.replace(file, file=None, env="T"), None),
        (["deployer"], pod, msgspec.structs.replace(file, key="other"), None),
        (["deployer", "other"], named, file, None),
        (["deployer"], SPEC, file, None),
        ([], pod, file, None),
    ):
        giver = Obtaining(
            store,
            lambda: providers(Registry(PROVIDERS, []), around(SystemClock(), allowed=Allowed(), environment={})),
            SystemClock(),
            accounts,
        )
        grant = Grant(digest="", credentials=CredentialPolicy(deliver=(delivery,), max_lifetime=hour))
        found = await giver.for_run(msgspec.structs.replace(run, grant=grant), spec)
        if expected is not None:
            assert found == Obtained(tokens=(expected,))
        else:
            assert isinstance(found, str)  # it was asked for, and this controller has no cluster to ask
            assert "the credential t" in found


# In the name of an identity


LEDGER = Identity(Subject(SubjectKind.Service, "ledger"), ACME, ("read", "write"), TrustLevel.Supervised)
HALF = msgspec.structs.replace(LEDGER, provider=MINT, scopes=("read",), narrowed_from=("read", "write"))


def session(*scopes: str, token: str = "hush", **fields: Any) -> Session:
    """What a provider of an identity answers."""
    return Session(credentials={"token": Secret(token)}, scopes=scopes, **fields)


def vouching(who: Identity = LEDGER) -> Vouching:
    """The question of a gate."""
    return Vouching(of="CredentialProvider default/x", namespace="default", job="job", identity=who)


async def test_a_credential_comes_from_the_provider_of_the_identity(giver: Obtaining, world: World) -> None:
    """With no more scopes than the run has, and as nobody else."""
    Acme.answers += [session("write"), session("read", "write"), session("write", principal="somebody")]
    assert await given(giver, world, Delivery("t", None, None, ("write", "pay"), env="TOKEN"), who=LEDGER)
    assert await given(giver, world, Delivery("t", ACME, env="TOKEN"), who=LEDGER)
    assert [(one.identity, one.scopes) for one in Acme.asked] == [(LEDGER, ("write",)), (LEDGER, ("read", "write"))]
    assert "somebody" in await given(giver, world, Delivery("t", None, None, ("write",), env="TOKEN"), who=LEDGER)


async def test_another_provider_is_nobodys_identity(giver: Obtaining, world: World) -> None:
    """Its answer has to fit none."""
    Acme.answers.append(session("pay", principal="somebody"))
    who = msgspec.structs.replace(LEDGER, provider=MINT)
    assert await given(giver, world, Delivery("t", ACME, None, ("pay",), env="TOKEN"), who=who)
    assert [one.identity for one in Acme.asked] == [None]


async def test_a_credential_of_somebody_who_was_narrowed_is_narrowed(
    giver: Obtaining, world: World, store: Store
) -> None:
    """Out of a live one of what the parent had, which the run never sees; both are given back when it has ended. Case S205."""
    Acme.answers += [session("read", "write", token="wide", lease="1"), session("read", token="half", lease="2")]
    found = await given(giver, world, Delivery("t", None, "token", ("read", "write"), env="TOKEN"), who=HALF)
    assert found == [Given("t", b"half", env="TOKEN")]
    assert [one.scopes for one in Acme.asked] == [("read", "write"), ("read",)]
    [made_of] = Mint.made_of
    assert made_of.credentials == {"token": Secret("wide")}
    [run] = [one.name for one in world.runs()]
    assert [one.handle for one in await store.read(lambda tx: cleanups.of_run(tx, run))] == [b"1", b"2"]


async def test_a_narrowed_credential_is_renewed_by_narrowing_again(giver: Obtaining, world: World) -> None:
    """Never by prolonging something wider, and not at a level below that of the run."""
    declared = Grant(digest="", identity=HALF, credentials=CredentialPolicy(deliver=(Delivery("t", None, file="t"),)))
    known = world.read(governors.read)
    declared = msgspec.structs.replace(declared, governors={str(one): one.digest for one in known.documents})
    running(world)
    run = msgspec.structs.replace(world.live()[0], grant=declared)
    Acme.answers += [session("read", "write", token="wide"), session("read", token="half")]
    found = await giver.for_run(run, SPEC)
    assert isinstance(found, Obtained)
    Acme.answers += [session("read", "write", token="wide"), session("read", token="other")]
    again = await giver.again(run, found.held[0])
    assert isinstance(again, obtaining.Held)
    assert again.session.credentials == {"token": Secret("other")}
    assert [one.scopes for one in Acme.asked] == [("read", "write"), ("read",)] * 2
    Acme.answers += [session("read", "write"), session("read", level=TrustLevel.Untrusted)]
    assert isinstance(await giver.again(run, found.held[0]), Refused)


async def test_a_wider_credential_is_not_given_where_none_can_be_narrowed(giver: Obtaining, world: World) -> None:
    """A provider that cannot, one that lies, one that says no."""
    who = msgspec.structs.replace(HALF, provider=ACME)
    Acme.answers.append(session("read", "write"))
    assert "cannot make less" in await given(giver, world, Delivery("t", env="TOKEN"), who=who)
    Acme.answers += [session("read", "write"), session("read", "write")]
    assert "nobody asked for" in await given(giver, world, Delivery("t", env="TOKEN"), who=HALF)
    Acme.answers += [session("read", "write"), Refused("not today")]
    assert "not today" in await given(giver, world, Delivery("t", env="TOKEN"), who=HALF)


async def test_a_run_is_not_given_credentials_of_a_level_below_its_own(giver: Obtaining, world: World) -> None:
    """It was let in for more than its provider vouches for by now."""
    Acme.answers.append(session("read", "write", level=TrustLevel.Restricted))
    found = await given(giver, world, Delivery("t", env="TOKEN"), who=LEDGER)
    assert "vouches for Restricted now, and the run was opened as Supervised" in found


async def test_a_provider_vouches_for_what_was_asked(giver: Obtaining, world: World) -> None:
    """And what it gave on the way is given back at once: nobody uses it."""
    assert world
    Acme.answers.append(session("read", principal="ledger", level=TrustLevel.Restricted, lease="lease-1"))
    assert await giver.vouch(vouching()) == Vouched("ledger", TrustLevel.Restricted, ("read",))
    assert [(one.job, one.run, one.identity, one.scopes) for one in Acme.asked] == [("job", "", LEDGER, LEDGER.scopes)]
    assert Acme.revoked == ["lease-1"]


async def test_who_was_narrowed_is_vouched_for_by_narrowing(giver: Obtaining, world: World) -> None:
    """The same that its credentials will be made by; a higher level than what it was made from is refused. Case S100."""
    assert world
    Acme.answers += [session("read", "write", lease="1"), session("read", level=TrustLevel.Restricted, lease="2")]
    assert await giver.vouch(vouching(HALF)) == Vouched(None, TrustLevel.Restricted, ("read",))
    assert Acme.revoked == ["2", "1"]
    Acme.answers += [session("read", "write"), session("read", level=TrustLevel.Autonomous)]
    found = await giver.vouch(vouching(HALF))
    assert isinstance(found, NotVouched)
    assert "Autonomous, above Supervised" in found.message


async def test_a_provider_that_does_not_vouch_says_why(giver: Obtaining, world: World) -> None:
    """A no, one that is not loaded, one that nobody declares: all final. An outage is none of them."""
    assert world
    Acme.answers += [Refused("no such user"), Unavailable("busy", timedelta(seconds=7))]
    found = await giver.vouch(vouching())
    assert isinstance(found, NotVouched)
    assert "no such user" in found.message
    assert await giver.vouch(vouching()) == Away("CredentialProvider default/acme: busy", timedelta(seconds=7))
    for name, words in (("nope", "not loaded"), ("gone", "there is no CredentialProvider")):
        missing = msgspec.structs.replace(LEDGER, provider=Ref(name, "CredentialProvider"))
        found = await giver.vouch(vouching(missing))
        assert isinstance(found, NotVouched)
        assert words in found.message
