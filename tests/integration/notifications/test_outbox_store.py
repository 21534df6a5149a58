"""The outbox on both databases: nothing twice, nothing lost, nobody crowds out anybody."""

import threading
from datetime import timedelta

from controller.domain.states import OutboxState
from controller.store import outbox
from controller.store.outbox import Place
from controller.store.store import Store
from tests.integration.notifications.conftest import NOW, declare, make_item

HOOK = Place("NotificationTarget", "ops", "hook")


def ids(claimed: list[outbox.Claimed]) -> list[str]:
    return [one.item.id for one in claimed]


async def test_the_same_event_is_enqueued_once(store: Store):
    """The second one with the same dedupe is ignored, within a transaction and across; others in the batch are kept."""
    first, same, other = make_item(1), make_item(2, dedupe="dedupe-1"), make_item(3)
    assert await store.write(lambda tx: outbox.enqueue(tx, [first, same])) == 1
    assert await store.write(lambda tx: outbox.enqueue(tx, [same, other])) == 1
    assert ids(await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))) == ["item-1", "item-3"]


async def test_an_item_comes_back_whole(store: Store):
    """Every field survives, and the attempt is counted when it begins."""
    item = make_item(1, to="somebody", target="unknown")
    await store.write(lambda tx: outbox.enqueue(tx, [item]))
    (claimed,) = await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))
    for field in (
        "id",
        "event",
        "namespace",
        "job",
        "target",
        "target_kind",
        "dedupe",
        "payload",
        "state",
        "to",
        "run",
    ):
        assert getattr(claimed.item, field) == getattr(item, field)
    assert claimed.item.attempts == 1
    assert claimed.spec is None


async def test_a_claim_brings_the_target(store: Store):
    """Namespaced ones from the job's namespace, cluster ones from everywhere."""
    items = [make_item(1), make_item(2, target_kind="ClusterNotificationTarget")]

    def fill(tx):
        declare(tx, "hook", {"webhook": {"url": "http://ours/"}})
        declare(tx, "hook", {"webhook": {"url": "http://theirs/"}}, namespace="other")
        declare(tx, "hook", {"webhook": {"url": "http://all/"}}, namespace="")
        outbox.enqueue(tx, items)

    await store.write(fill)
    claimed = await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))
    assert [(one.place, one.spec) for one in claimed] == [
        (HOOK, b'{"webhook":{"url":"http://ours/"}}'),
        (Place("ClusterNotificationTarget", "", "hook"), b'{"webhook":{"url":"http://all/"}}'),
    ]


async def test_what_is_claimed_is_not_claimed_again_until_the_claim_ends(store: Store):
    """Then it is, with the same id: at least once."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(1)]))
    assert ids(await store.write(lambda tx: outbox.claim(tx, NOW, "dead", 10))) == ["item-1"]
    assert await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10)) == []
    assert await store.read(outbox.next_due) == NOW + outbox.LEASE
    again = await store.write(lambda tx: outbox.claim(tx, NOW + outbox.LEASE, "me", 10))
    assert [(one.item.id, one.item.attempts) for one in again] == [("item-1", 2)]


async def test_claims_of_the_dead_are_released_at_once(store: Store):
    """By name where several share the database, all where one has it alone."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(1), make_item(2, target="other")]))
    await store.write(lambda tx: outbox.claim(tx, NOW, "dead", 1))
    await store.write(lambda tx: outbox.claim(tx, NOW, "alive", 1))
    assert await store.write(lambda tx: outbox.release(tx, NOW, owners=["dead"])) == 1
    assert ids(await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))) == ["item-1"]
    assert await store.write(lambda tx: outbox.release(tx, NOW)) == 2


async def test_what_was_sent_is_final(store: Store):
    """Even if its claim had passed on meanwhile; a late failure changes nothing."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(1)]))
    await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))
    await store.write(lambda tx: outbox.sent(tx, "item-1"))
    assert not await store.write(lambda tx: outbox.failed(tx, "item-1", "me", "x", NOW))
    assert await store.read(outbox.pending) == 0
    assert await store.read(outbox.next_due) is None
    assert await store.write(lambda tx: outbox.enqueue(tx, [make_item(9, dedupe="dedupe-1")])) == 0


async def test_a_failure_is_due_again_when_it_says(store: Store):
    """Not before, and the reason is kept."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(1)]))
    await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))
    later = NOW + timedelta(seconds=10)
    assert await store.write(lambda tx: outbox.failed(tx, "item-1", "me", "the webhook answered 503", later))
    assert await store.read(outbox.next_due) == later
    assert await store.write(lambda tx: outbox.claim(tx, later - timedelta(microseconds=1), "me", 10)) == []
    (again,) = await store.write(lambda tx: outbox.claim(tx, later, "me", 10))
    assert again.item.last_error == "the webhook answered 503"


async def test_a_failure_of_somebody_whose_claim_ended_is_not_written(store: Store):
    """The attempt of the new owner counts."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(1)]))
    await store.write(lambda tx: outbox.claim(tx, NOW, "slow", 10))
    await store.write(lambda tx: outbox.claim(tx, NOW + outbox.LEASE, "new", 10))
    assert not await store.write(lambda tx: outbox.failed(tx, "item-1", "slow", "x", None))
    assert await store.read(outbox.pending) == 1


async def test_what_is_given_up_stays_visible_until_pruned(store: Store):
    """With its reason; pruning spares what is on its way and what is young."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(n) for n in (1, 2, 3)]))
    await store.write(lambda tx: outbox.claim(tx, NOW, "me", 10))
    await store.write(lambda tx: outbox.failed(tx, "item-1", "me", "gone", None))
    await store.write(lambda tx: outbox.sent(tx, "item-2"))
    (kept,) = await store.read(outbox.failures)
    assert (kept.id, kept.state, kept.last_error) == ("item-1", OutboxState.Failed, "gone")
    assert await store.write(lambda tx: outbox.prune(tx, NOW)) == 0
    assert await store.write(lambda tx: outbox.prune(tx, NOW + timedelta(days=1))) == 2
    assert await store.read(outbox.pending) == 1


async def test_one_target_does_not_crowd_out_another(store: Store):
    """However many messages it has and however old they are; busy targets are left alone."""
    many = [make_item(n) for n in range(100)]
    few = [make_item(200 + n, target="other", not_before=NOW + timedelta(seconds=1)) for n in range(2)]
    await store.write(lambda tx: outbox.enqueue(tx, many + few))
    later = NOW + timedelta(seconds=2)
    first = await store.write(lambda tx: outbox.claim(tx, later, "me", 10, each=3))
    assert sorted(one.item.target for one in first) == ["hook"] * 3 + ["other"] * 2
    assert await store.write(lambda tx: outbox.claim(tx, later, "me", 10, busy=[HOOK], each=3)) == []
    assert await store.read(lambda tx: outbox.next_due(tx, busy=[HOOK])) == later + outbox.LEASE
    assert len(await store.write(lambda tx: outbox.claim(tx, later, "me", 2, each=3))) == 2


async def test_racing_replicas_claim_each_item_once(store: Store, database: str | None):
    """With as many claimers as the database lets in, no id is claimed twice and none is left."""
    await store.write(lambda tx: outbox.enqueue(tx, [make_item(n, target=f"t{n % 7}") for n in range(200)]))
    stores = [store, store]
    if database is not None:
        from controller.store.database import open_store  # noqa: PLC0415 - only replicas open it again

        stores = [store, open_store(database), open_store(database)]
    claimed: list[str] = []
    lock = threading.Lock()

    def race(own: Store, owner: str) -> None:
        empty = 0
        while empty < 3:
            got = own.submit(lambda tx: ids(outbox.claim(tx, NOW, owner, 5))).result(timeout=120)
            empty = 0 if got else empty + 1
            with lock:
                claimed.extend(got)

    threads = [threading.Thread(target=race, args=(own, f"owner-{n}")) for n, own in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in stores:
        if own is not store:
            own.close()
    rest = ids(await store.write(lambda tx: outbox.claim(tx, NOW, "last", 1000, each=1000)))
    assert sorted(claimed + rest) == sorted(f"item-{n}" for n in range(200))
