"""Names of runs and ids of rows."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.base import ids

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
JOBS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)


@given(JOBS, st.uuids(), st.text(max_size=40), st.integers(1, 30))
def test_a_run_name_is_a_dns_label_with_eight_characters_behind_the_job(job, uid, occurrence, attempt):
    """It can name a Kubernetes Job and its Pods, whatever the facts are."""
    name = ids.run_name(job, str(uid), occurrence, attempt)
    assert LABEL.fullmatch(name)
    assert name.startswith(f"{job}-")
    assert len(name) == len(job) + 9


def test_a_run_name_follows_from_its_facts_alone():
    """The same occurrence and attempt meet under one name; any other fact gives another."""
    base = ("report", "uid-1", "2026-06-01T12:00:00Z", 1)
    others = [
        ("report", "uid-2", base[2], 1),
        ("report", "uid-1", "2026-06-01T12:00:01Z", 1),
        (*base[:3], 2),
        ("report", "uid-12026", "-06-01T12:00:00Z", 1),
    ]
    assert ids.run_name(*base) == ids.run_name(*base) == "report-" + ids.run_name(*base)[-8:]
    assert len({ids.run_name(*facts) for facts in [base, *others]}) == 5


@pytest.mark.parametrize("job", ["", "x" * 55])
def test_a_job_name_that_leaves_no_room_is_an_error(job):
    """Rather than a name that Kubernetes refuses later."""
    with pytest.raises(ValueError, match="1 to 54 characters"):
        ids.run_name(job, "u", "o", 1)


def test_a_uid_is_a_random_uuid():
    """Version 4, from the entropy given."""
    assert uuid.UUID(ids.new_uid()).version == 4
    assert ids.new_uid(lambda count: b"\xff" * count) == "ffffffff-ffff-4fff-bfff-ffffffffffff"
    assert len({ids.new_uid() for _ in range(1000)}) == 1000


@given(st.lists(st.integers(0, 10**15), min_size=2, max_size=30, unique=True))
def test_ids_sort_as_their_instants(micros):
    """As text, to the microsecond, whatever the entropy is."""
    made = [ids.new_id(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)) for number in sorted(micros)]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}


def test_ids_of_one_instant_differ():
    """62 random bits."""
    assert len({ids.new_id(NOON) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("instant", [datetime(2026, 6, 1), datetime(1969, 12, 31, tzinfo=UTC)])  # noqa: DTZ001 - the error
def test_an_id_needs_an_aware_instant_of_this_era(instant):
    """Rather than an id that sorts anywhere."""
    with pytest.raises(ValueError, match="aware instant since 1970"):
        ids.new_id(instant)
