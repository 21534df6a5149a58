"""Whatever a provider does, its caller gets an answer in time, in words, and without secrets."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from controller.base.clock import SystemClock
from controller.base.references import Allowed, EnvRef, SecretSource
from controller.domain.trust import Identity, Subject, SubjectKind, TrustLevel
from controller.providers import breaker
from controller.providers.aside import Aside
from controller.providers.breaker import THRESHOLD
from controller.providers.calling import Caller
from controller.providers.protocol import Refused, Request, Secret, Session, Unavailable
from controller.providers.surroundings import Surroundings
from tests.unit.providers.clocks import Hand

CANARY = "canary-5e3c1b-value"
SHORT = timedelta(milliseconds=100)
LONG = timedelta(seconds=30)
IDENTITY = Identity(Subject(SubjectKind.Service, "svc"), level=TrustLevel.Supervised)
REQUEST = Request(namespace="team", job="job", run="job-1", identity=IDENTITY)


class Plug:
    """A provider that does what the test says, and counts."""

    def __init__(self, does: Callable[[], Awaitable[Any]]) -> None:
        self._does = does
        self.asked = 0
        self.revoked: list[str] = []

    async def resolve(self, request: Request) -> Any:
        self.asked += 1
        return await self._does()

    async def revoke(self, lease: str) -> None:
        self.revoked.append(lease)


class Narrowing(Plug):
    async def downscope(self, request: Request, session: Session) -> Any:
        self.asked += 1
        return await self._does()

    async def renew(self, request: Request, session: Session) -> Any:
        return await self._does()


class Bare:
    async def resolve(self, request: Request) -> Any:
        return Session(scopes=("a", "b"))


def gives(answer: object) -> Callable[[], Awaitable[object]]:
    async def give() -> object:
        return answer

    return give


def raises(error: BaseException) -> Callable[[], Awaitable[object]]:
    async def fail() -> object:
        raise error

    return fail


async def hang() -> None:
    await asyncio.Event().wait()


def surroundings(clock: Any = None, **options: Any) -> Surroundings:
    return Surroundings("CredentialProvider team/plug", "team", clock=clock or SystemClock(), **options)


def caller(plug: Any, timeout: timedelta = LONG, **options: Any) -> Caller:
    return Caller(plug, options.pop("around", None) or surroundings(), timeout, **options)


# Outages


async def test_one_that_hangs_is_cut_off() -> None:
    """With the name of the provider and the time that it had."""
    answer = await caller(Plug(hang), SHORT).resolve(REQUEST)
    assert answer == Unavailable("CredentialProvider team/plug: no answer within 100ms")


async def test_one_that_hangs_and_does_not_heed_cancellation_is_left_behind() -> None:
    """The caller goes on; what arrives late all the same is given back."""
    released = asyncio.Event()

    async def stubborn() -> Session:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return Session(lease="lease/late")

    plug = Plug(stubborn)
    answer = await caller(plug, SHORT).resolve(REQUEST)
    assert isinstance(answer, Unavailable)
    released.set()
    async with asyncio.timeout(30):
        while not plug.revoked:
            await asyncio.sleep(0)
    assert plug.revoked == ["lease/late"]


async def test_one_that_blocks_its_thread_holds_up_itself_alone() -> None:
    """A plug-in that sleeps without awaiting is common; the loop of the controller turns on."""
    released = threading.Event()

    async def block() -> Session:
        released.wait(60)
        return Session()

    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    turning = asyncio.ensure_future(turn())
    aside = Aside("test")
    answer = await caller(Plug(block), SHORT, aside=aside).resolve(REQUEST)
    turning.cancel()
    released.set()
    aside.close()
    assert isinstance(answer, Unavailable)
    assert turns > 1


async def test_a_plugin_on_its_own_thread_answers_and_reads_secrets_where_they_belong() -> None:
    """Connections of the controller are used on the controller's loop."""
    home = asyncio.get_running_loop()
    used: list[bool] = []

    class Secrets:
        async def read(self, namespace: str, name: str, key: str) -> str:
            used.append(asyncio.get_running_loop() is home)
            return CANARY

    around = surroundings(secrets=Secrets())

    async def read() -> Session:
        assert asyncio.get_running_loop() is not home
        secret = await around.key("name", "key")
        assert isinstance(secret, Secret)
        return Session(credentials={"token": secret})

    aside = Aside("test")
    answer = await Caller(Plug(read), around, LONG, aside=aside).resolve(REQUEST)
    assert isinstance(answer, Session)
    assert answer.credentials == {"token": Secret(CANARY)}
    assert used == [True]
    aside.close()


async def test_a_plugin_that_exits_is_an_outage_and_is_asked_again() -> None:
    """As one that calls sys.exit does."""
    answers: list[object] = [Session(), None]

    async def end() -> object:
        return answers.pop() or sys.exit(3)

    aside = Aside("test")
    asked = caller(Plug(end), aside=aside)
    assert await asked.resolve(REQUEST) == Unavailable(
        "CredentialProvider team/plug: RuntimeError: it tried to end the process"
    )
    assert isinstance(await asked.resolve(REQUEST), Session)
    aside.close()


async def test_what_is_remembered_for_masking_is_bounded() -> None:
    """Old credentials do not stay in memory for it; a value that is masked is so until it is forgotten."""
    around = surroundings()
    for number in range(100):
        around.remember(Secret(f"value-{number:03}"), Secret(f"value-{number:03}"))
    assert around.masker.mask("value-099 value-068") == "*** ***"
    assert around.masker.mask("value-000 value-067") == "value-000 value-067"


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Vault timeout"), "RuntimeError: Vault timeout"),
        (RuntimeError(f"bad key {CANARY}"), "RuntimeError: bad key ***"),
        (RuntimeError("x " * 10_000_000), "RuntimeError: x x x"),
        (RuntimeError("a\nb\x1b[31m\x00"), "RuntimeError: a b [31m"),
        (Rude(), "Rude:"),
        (asyncio.CancelledError(), "it gave up by itself"),
        (KeyError(f"Bearer {'x' * 40}"), "KeyError: 'Bearer ***"),
    ],
)
async def test_an_exception_is_an_outage_in_bounded_words_without_secrets(error: BaseException, said: str) -> None:
    """Whatever it was given as a secret is masked; S080: what it says otherwise is told."""
    around = surroundings(allowed=Allowed(frozenset({"KEY"})), environment={"KEY": CANARY})
    await around.read(SecretSource(env_ref=EnvRef("KEY")))
    answer = await caller(Plug(raises(error)), around=around).resolve(REQUEST)
    assert isinstance(answer, Unavailable)
    assert answer.message.startswith(f"CredentialProvider team/plug: {said}")
    assert len(answer.message) < 400
    assert CANARY not in answer.message


async def test_what_it_has_returned_once_is_masked_in_what_it_says_later() -> None:
    """Also in refusals."""
    answers = [Session(credentials={"token": Secret(CANARY)}), Refused(f"no more {CANARY}")]

    async def give() -> object:
        return answers.pop(0)

    asked = caller(Plug(give))
    await asked.resolve(REQUEST)
    assert await asked.resolve(REQUEST) == Refused("CredentialProvider team/plug: no more ***")


@pytest.mark.parametrize("answer", [None, True, {"ok": True}, "permit", Refused(None), Unavailable(7)])
async def test_an_answer_that_is_none_is_no_session(answer: object) -> None:
    """Nor does it break the caller; case S089 in spirit."""
    given = await caller(Plug(gives(answer))).resolve(REQUEST)
    assert isinstance(given, Refused | Unavailable)
    assert given.message.startswith("CredentialProvider team/plug: ")


async def test_a_wait_that_it_names_is_bounded() -> None:
    """A provider must not put a run off for years."""
    answer = await caller(Plug(gives(Unavailable("later", timedelta(days=400))))).resolve(REQUEST)
    assert answer == Unavailable("CredentialProvider team/plug: later", timedelta(hours=1))


# Lies


@pytest.mark.parametrize(
    "lie",
    [
        Session(principal="admin", lease="l"),
        Session(scopes=("a", "admin"), lease="l"),
        Session(expires_at=Hand().now(), lease="l"),
        Session(credentials={"token": CANARY}, lease="l"),  # type: ignore[dict-item]
    ],
)
async def test_a_lie_is_a_refusal_and_what_was_granted_is_given_back(lie: Session) -> None:
    """Another principal, wider scopes, an end that has passed, a bare text for a secret."""
    plug = Plug(gives(lie))
    request = Request(namespace="team", job="job", identity=IDENTITY, scopes=("a",))
    answer = await caller(plug, around=surroundings(Hand())).resolve(request)
    assert isinstance(answer, Refused)
    assert CANARY not in answer.message
    assert plug.revoked == ["l"]


async def test_one_that_cannot_downscope_is_refused_and_never_asked() -> None:
    """And one that can is asked only for what can be told to be less."""
    wide = Session(scopes=("a", "b"), level=TrustLevel.Supervised)
    less = Request(namespace="team", job="job", identity=IDENTITY, scopes=("a",))
    bare = caller(Bare())
    assert not bare.can_downscope
    assert isinstance(await bare.downscope(less, wide), Refused)
    plug = Narrowing(gives(Session(scopes=("a",))))
    narrowing = caller(plug)
    assert isinstance(await narrowing.downscope(REQUEST, wide), Refused)
    assert plug.asked == 0
    narrow = await narrowing.downscope(less, wide)
    assert isinstance(narrow, Session)
    assert narrow.level is TrustLevel.Supervised
    assert isinstance(await caller(Narrowing(gives(wide))).downscope(less, wide), Refused)


async def test_a_renewal_keeps_its_lease() -> None:
    """Another one was not written down before it was used, so it is given back."""
    old = Session(lease="old")
    plug = Narrowing(gives(Session(lease="new")))
    assert isinstance(await caller(plug).renew(REQUEST, old), Refused)
    assert plug.revoked == ["new"]
    kept = await caller(Narrowing(gives(Session(lease="old")))).renew(REQUEST, old)
    assert isinstance(kept, Session)
    anew = await caller(Bare()).renew(REQUEST, old)
    assert isinstance(anew, Session)


async def test_a_renewal_that_is_late_or_not_believed_does_not_end_what_a_run_holds() -> None:
    """The run goes on with what it has, until that ends by itself."""
    released = asyncio.Event()

    async def late() -> Session:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            released.set()
        return Session(lease="held")

    held = Session(lease="held", scopes=("a", "b"), level=TrustLevel.Supervised)
    less = Request(namespace="team", job="job", identity=IDENTITY, scopes=("a",))
    for ask in (lambda caller: caller.renew(REQUEST, held), lambda caller: caller.downscope(less, held)):
        released.clear()
        plug = Narrowing(late)
        assert isinstance(await ask(caller(plug, SHORT)), Unavailable)
        await asyncio.wait_for(released.wait(), 30)
        for _ in range(10):
            await asyncio.sleep(0)
        assert plug.revoked == []
        plug = Narrowing(gives(Session(lease="held", principal="somebody else")))
        assert isinstance(await ask(caller(plug)), Refused)
        assert plug.revoked == []


class Trap(dict[str, Secret]):
    def items(self) -> Any:
        raise RuntimeError(CANARY)


async def test_an_answer_that_breaks_when_it_is_looked_at_is_refused() -> None:
    """What a plug-in puts into a session may be code."""
    answer = await caller(Plug(gives(Session(credentials=Trap())))).resolve(REQUEST)
    assert answer == Refused("CredentialProvider team/plug: its answer cannot be read: RuntimeError")


async def test_one_that_cannot_revoke_says_so() -> None:
    """Nothing pretends that something was ended."""
    assert isinstance(await caller(Bare()).revoke("x"), Refused)
    assert await caller(Plug(hang)).revoke("x") is None


# The breaker


async def test_a_provider_that_keeps_failing_is_left_alone_and_tried_again() -> None:
    """A refusal is no failure; a revocation is asked all the same."""
    clock, answer = Hand(), [Unavailable("away")]

    async def give() -> object:
        return answer[0]

    plug = Plug(give)
    asked = caller(plug, around=surroundings(clock))
    for _ in range(THRESHOLD + 3):
        given = await asked.resolve(REQUEST)
    assert plug.asked == THRESHOLD
    assert given == Unavailable(
        f"CredentialProvider team/plug: it failed {THRESHOLD} times in a row and is not asked again for 5s",
        breaker.FIRST,
    )
    assert await asked.revoke("lease") is None
    clock.move(breaker.FIRST.total_seconds())
    answer[0] = Refused("no")  # type: ignore[call-overload]
    assert await asked.resolve(REQUEST) == Refused("CredentialProvider team/plug: no")
    for _ in range(2 * THRESHOLD):
        await asked.resolve(REQUEST)
    assert plug.asked == 3 * THRESHOLD + 1


async def test_a_caller_that_is_cancelled_leaves_no_lease_and_no_trial_behind() -> None:
    """A run that is cancelled while its credentials come."""
    begun = asyncio.Event()

    async def slow() -> Session:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Session(lease="lease/late")
        raise AssertionError

    plug = Plug(slow)
    waiting = asyncio.ensure_future(caller(plug).resolve(REQUEST))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ends = time.monotonic() + 30
    while not plug.revoked and time.monotonic() < ends:
        await asyncio.sleep(0)
    assert plug.revoked == ["lease/late"]


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happens, at any level."""
    caplog.set_level(logging.DEBUG)
    around = surroundings(allowed=Allowed(frozenset({"KEY"})), environment={"KEY": CANARY})
    around.variable("KEY")
    lying = Session(principal="x", credentials={"token": Secret(CANARY)}, lease="l")
    for does in (raises(RuntimeError(CANARY)), gives(lying), gives(Refused(CANARY)), gives(Unavailable(CANARY))):
        for _ in range(THRESHOLD + 1):
            await caller(Plug(does), around=around).resolve(REQUEST)
    assert CANARY not in caplog.text
