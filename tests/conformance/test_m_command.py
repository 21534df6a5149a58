"""Cases M: how the command answers what it cannot do."""

import pytest

from tests.harness import Warden, job

WRONG = {
    "format": ("get", "jobs", "-o", "sonnet"),
    "kind": ("get", "nonsense", "-o", "json"),
    "verb": ("frobnicate",),
    "option": ("get", "jobs", "--nothing", "-o", "json"),
    "argument": ("trigger",),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_S178_wrong_usage_exits_with_2_and_says_how_it_is_used(warden: Warden, wrong: tuple[str, ...]) -> None:
    """A person reads it on standard error; who asked for JSON gets one object with the same words on standard output."""
    answer = warden.cli(*wrong)
    assert answer.code == 2
    assert answer.err.strip()
    if "json" in wrong:
        assert answer.json["error"]["message"] in answer.err
    else:
        assert answer.out == ""


def test_S178_a_missing_thing_exits_with_1_and_says_so_in_json_as_well(warden: Warden) -> None:
    """Not found is an answer, not a usage error."""
    warden.write("job", job("here"))
    warden.run_until_idle()
    answer = warden.cli("get", "jobs", "elsewhere", "-o", "json")
    assert answer.code == 1
    assert "elsewhere" in answer.json["error"]["message"]
    assert "elsewhere" in answer.err
