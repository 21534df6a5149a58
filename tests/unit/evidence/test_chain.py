"""Whatever is done to a chain is found, and said where; a chain that nobody touched has no problem."""

import itertools
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from controller.evidence import statement
from controller.evidence.chain import Link, Mark, problems
from controller.evidence.checkpoint import Why
from controller.evidence.verify import verify
from tests.evidence import AT, found, mark, new_key, statements

LENGTH = 6
CHAIN = statements(LENGTH)
KEY = new_key()
numbers = st.integers(0, LENGTH - 1)


def links(count: int = LENGTH) -> list[Link]:
    """A chain as links."""
    digests = [statement.digest(one) for one in CHAIN[:count]]
    return [
        Link(number, own, before, f"nightly-{number}")
        for number, (before, own) in enumerate(zip([None, *digests], digests, strict=False), 1)
    ]


def words(said: list[bytes], *marks: bytes) -> list[str]:
    """What is wrong with statements, in words, without a key."""
    verified = verify(found([*said, *marks]))
    return [
        *(one.message for one in verified.problems),
        *(one.message for chain in verified.chains for one in chain.problems),
    ]


@given(st.permutations(CHAIN))
def test_a_chain_holds_in_whatever_order_it_is_read(said: list[bytes]) -> None:
    """The order of lines says nothing; numbers and digests do."""
    assert words(said, mark(LENGTH, CHAIN[-1])) == []


@given(numbers, st.data())
def test_any_change_of_one_byte_is_found(index: int, data: st.DataObject) -> None:
    """In any statement up to the checkpoint, whatever the byte becomes."""
    original = CHAIN[index]
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != original[at]))
    changed = bytearray(original)
    changed[at] = byte
    assert words([*CHAIN[:index], bytes(changed), *CHAIN[index + 1 :]], mark(LENGTH, CHAIN[-1])) != []


@given(st.sets(numbers, min_size=1))
def test_whatever_is_left_out_is_missed(gone: set[int]) -> None:
    """One or many, at the beginning, in the middle or at the end: a checkpoint saw the end."""
    left = [one for index, one in enumerate(CHAIN) if index not in gone]
    assert words(left, mark(LENGTH, CHAIN[-1])) != []


@given(numbers, numbers)
def test_statements_that_change_places_are_found(one: int, other: int) -> None:
    """Renumbered links, each with its own digest and the name of the one that now stands before it missing."""
    order = links()
    order[one], order[other] = order[other], order[one]
    renumbered = [Link(number, link.digest, link.previous, link.run) for number, link in enumerate(order, 1)]
    assert bool(problems(renumbered, [])) == (one != other)


@given(numbers, st.integers(1, LENGTH))
def test_a_statement_that_is_put_in_is_found(index: int, number: int) -> None:
    """A copy of one that is there says the same twice and changes nothing; another one under a number that is taken does."""
    foreign = statements(1, first=number, previous="00" * 32)[0]
    assert words([*CHAIN[:index], CHAIN[index], *CHAIN[index:]]) == []
    assert words([*CHAIN, foreign]) != []


def test_what_is_wrong_is_said_with_its_place() -> None:
    """In words for people: which sequence, which run."""
    (gap,) = problems([*links()[:2], *links()[4:]], [])
    assert (gap.sequence, gap.run) == (5, "nightly-5")
    assert gap.message == "sequences 3 to 4 are missing, between the runs nightly-2 and nightly-5"
    (cut,) = problems(links(4), [Mark(LENGTH, links()[-1].digest, Why.Head, AT)])
    assert cut.message == (
        "the chain ends at sequence 4, but a checkpoint of 2026-01-05T12:00:00Z has sequence 6: its end was cut off"
    )
    (begin,) = problems(links()[2:], [])
    assert begin.message == "sequences 1 to 2 are missing, and no checkpoint says that they were pruned"


@given(st.integers(1, LENGTH))
def test_a_beginning_that_was_pruned_holds_by_its_checkpoint(count: int) -> None:
    """Only by a checkpoint that was made for pruning, and only if what is left follows it."""
    left = CHAIN[count:]
    pruned = mark(count, CHAIN[count - 1], Why.Pruned)
    assert words(left, pruned) == []
    if left:
        assert words(left, mark(count, CHAIN[count - 1])) != []
        assert words(left, mark(count, b"another", Why.Pruned)) != []


def test_pruning_that_stopped_half_way_holds() -> None:
    """What its checkpoint covers may still be there, in part."""
    assert words(CHAIN[2:], mark(4, CHAIN[3], Why.Pruned)) == []


def test_a_chain_that_is_all_pruned_holds() -> None:
    """Nothing but checkpoints is left."""
    assert words([], mark(LENGTH, CHAIN[-1], Why.Pruned), mark(LENGTH, CHAIN[-1])) == []
    assert words([], mark(3, CHAIN[2], Why.Pruned), mark(LENGTH, CHAIN[-1])) != []


def test_a_restored_database_is_named_as_the_reason() -> None:
    """What came after the backup is gone, and the problem says why."""
    later = AT + timedelta(hours=1)
    restored = Mark(2, links()[1].digest, Why.Restored, later)
    (problem,) = problems(links(3), [Mark(5, links()[4].digest, Why.Head, AT), restored])
    assert problem.message.endswith(
        "(the database was restored at 2026-01-05T13:00:00Z from a backup that ended at sequence 2)"
    )
    assert problems(links(3), [restored]) == []


def test_one_run_cannot_be_told_of_twice() -> None:
    """A second statement with another end for the same run."""
    twice = [*links(2), Link(3, "c" * 64, links()[1].digest, "nightly-1")]
    assert [one.message for one in problems(twice, [])] == [
        "it is about run nightly-1, which sequence 1 is about already"
    ]


@given(st.integers(1, LENGTH), st.integers(1, LENGTH))
def test_a_chain_goes_on_from_what_was_kept_earlier(now: int, then: int) -> None:
    """An export of last year is a witness: whatever it has must be there, or have been pruned."""
    earlier = found(CHAIN[:then], KEY)
    assert verify(found(CHAIN[:now], KEY), [KEY.public], earlier).good == (now >= then)


def test_a_chain_that_is_gone_is_missed() -> None:
    """Nothing of it is left, and an earlier export had it."""
    other = verify([], [KEY.public], found(CHAIN, KEY))
    assert [one.message for one in other.problems] == [
        "nothing is left of the chain of default/nightly, which was there earlier"
    ]


@given(
    st.lists(
        st.builds(
            Link, st.integers(-2, 8), st.sampled_from("abc"), st.sampled_from("abc") | st.none(), st.sampled_from("xyz")
        ),
        max_size=8,
    )
)
def test_a_chain_without_problems_is_one_chain(made: list[Link]) -> None:
    """Whatever links are given: where nothing is wrong, numbers run from 1 and each names the one before, and runs differ."""
    if problems(made, []):
        return
    ordered = sorted(set(made), key=lambda link: link.sequence)
    assert [link.sequence for link in ordered] == list(range(1, len(ordered) + 1))
    assert all(link.previous == before.digest for before, link in itertools.pairwise(ordered))
    assert len({link.run for link in ordered}) == len(ordered)
