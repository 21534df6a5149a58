"""The cron grammar: what is accepted and how it is read, what is refused and what the author is told to write."""

import pytest
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.schedule import grammar
from tests.unit.schedule.expressions import cron_expressions


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("30 2 * * *", "30 2 * * *"),
        ("  30\t2 * * *  ", "30 2 * * *"),
        ("0 0 * * * 30", "0 0 * * * 30"),
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("5-59/10 * * * *", "5,15,25,35,45,55 * * * *"),
        ("1,3-5,1 * * * *", "1,3,4,5 * * * *"),
        ("0-59 * * * *", "* * * * *"),
        ("0 0 1 jan,Feb-APR *", "0 0 1 1,2,3,4 *"),
        ("0 0 * * mon-FRI", "0 0 * * 1,2,3,4,5"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * sat-sun", "0 0 * * 0,6"),
        ("0 0 * * 0-7", "0 0 * * *"),
        ("0 0 * * 1-5/2", "0 0 * * 1,3,5"),
        ("0 0 ? * ?", "0 0 * * *"),
        ("0 0 l * *", "0 0 L * *"),
        ("0 0 15,L * *", "0 0 15,L * *"),
        ("0 0 * * L5", "0 0 * * L5"),
        ("0 0 * * Lsun", "0 0 * * L0"),
        ("0 0 * * 5#2,1#1", "0 0 * * 5#2,1#1"),
        ("0 0 * * fri#2", "0 0 * * 5#2"),
        ("H H * * *", "H(0-59) H(0-23) * * *"),
        ("h/15 H(8-17) H * H", "H(0-59)/15 H(8-17) H(1-28) * H(0-6)"),
        ("0 0 1-31 * MON", "0 0 * * *"),
        ("0 0 31 2 MON", "0 0 31 2 1"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 * * thu", "0 0 * * 4"),
        ("0 */24 * * *", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_an_expression_is_read_as_explicit_numbers(expression, fields):
    """Names, ranges, steps and macros have one meaning each."""
    assert grammar.parse(expression).fields == tuple(fields.split())
    assert grammar.check(expression) == []


@pytest.mark.parametrize(
    ("expression", "offset", "said"),
    [
        ("5/10 * * * *", 0, "write 5-59/10"),  # S040
        ("0 0 LW * *", 4, "W (nearest weekday)"),
        ("0 0 15W * *", 4, "W (nearest weekday)"),
        ("0 0 L-3 * *", 4, "write L for the last day"),
        ("0 0 31 2 *", 4, "day 31 never occurs"),
        ("0 0 30,31 FEB *", 4, "day 30 never occurs"),
        ("0 0 31 4,6,9,11 *", 4, "day 31 never occurs"),
        ("0 0 H(30-31) 2 *", 4, "day 31 never occurs"),
        ("0 0 31 H(2-4) *", 4, "day 31 never occurs"),
        ("@reboot", 0, "is not a time"),
        ("@every 5m", 0, "write every: 5m"),
        ("@fortnightly", 0, "known are @yearly"),
        ("@daily 5", 7, "stands alone"),
        ("TZ=Europe/Berlin 0 0 * * *", 0, "set timeZone: Europe/Berlin"),
        ("CRON_TZ=UTC 0 0 * * *", 0, "set timeZone: UTC"),
        ("0 0 * * * 0 2026", 12, "there is no year field"),
        ("* * * * * * * *", 12, "5 or 6"),
        ("0 0 * *", 6, "minute hour day-of-month month day-of-week"),  # S040
        ("", 0, "the expression is empty"),
        (" \t", 0, "the expression is empty"),
        ("60 * * * *", 0, "write 0 to 59"),
        ("0 24 * * *", 2, "write 0 to 23"),
        ("0 0 0 * *", 4, "write 1 to 31"),
        ("0 0 32 * *", 4, "write 1 to 31"),
        ("0 0 * 13 *", 6, "write 1 to 12 or JAN to DEC"),
        ("0 0 * * 8", 8, "write 0 to 7 or SUN to SAT"),
        ("0 0 * * * 60", 10, "write 0 to 59"),
        ("1,,2 * * * *", 2, "remove the extra comma"),
        ("1, * * * *", 2, "remove the extra comma"),
        ("*/0 * * * *", 2, "a step of 0"),
        ("*/x * * * *", 2, "write a number after /"),
        ("*/90 * * * *", 2, "write every: 90m"),
        ("0 */36 * * *", 4, "write every: 36h"),
        ("5- * * * *", 0, "is not a range"),
        ("-5 * * * *", 0, "is not a range"),
        ("0 22-4 * * *", 2, "write 22-23,0-4"),
        ("0 0 * * FRI-MON", 8, "write 5-6,0-1"),
        ("? * * * *", 0, "write *"),
        ("0 0 ?,1 * *", 4, "write *"),
        ("R * * * *", 0, "write H"),
        ("R(1-5) * * * *", 0, "write H"),
        ("H,30 * * * *", 0, "alone in its field"),
        ("H(5-90) * * * *", 0, "stay within 0-59"),
        ("H(9-5) * * * *", 0, "stay within 0-59"),
        ("0 0 * * L", 8, "write L5"),
        ("0 0 * * 5L", 8, "write L5"),
        ("0 0 * * 5#6", 10, "such as 5#2"),
        ("0 0 * * 1,5#2", 8, "two entries in crons"),
        ("0 0 * * monday", 8, "SUN to SAT"),
        ("0 0 * * \u0661", 8, "unexpected character"),
        ("0\u00a00 * * * *", 1, "unexpected character"),
        ("0 0 * * *\n0 1 * * *", 9, "unexpected character"),
        ("9" * 400 + " * * * *", 0, "is not a minute"),
        ("*" * 600, 512, "at most 512"),
    ],
)
def test_what_is_refused_is_refused_with_its_place_and_what_to_write(expression, offset, said):
    """A problem names the spot and the way out."""
    (problem,) = grammar.check(expression)
    assert said in str(problem)
    assert problem.hint
    assert problem.offset == offset
    with pytest.raises(grammar.CronSyntaxError) as raised:
        grammar.parse(expression)
    assert raised.value.problems == [problem]


def test_every_field_reports_its_own_problem():
    """Whoever got three fields wrong learns of three at once."""
    problems = grammar.check("60 24 * 13 *")
    assert [problem.offset for problem in problems] == [0, 3, 8]


@settings(max_examples=300)
@given(st.text(alphabet="0123456789*,-/#?LWHR()@ JANMONSU", max_size=30) | st.text(max_size=40) | cron_expressions())
@example("0 0 * * l\u0131")
def test_any_text_is_either_read_or_refused_with_a_hint(text):
    """No text makes the reader fail otherwise, and what it accepts croniter accepts."""
    problems = grammar.check(text)
    if problems:
        assert all(
            problem.message and problem.hint and 0 <= problem.offset <= max(len(text), 512) for problem in problems
        )
    else:
        assert croniter.is_valid(" ".join(grammar.parse(text).fields), hash_id="a/b")


@settings(max_examples=200)
@given(cron_expressions())
def test_reading_the_read_form_changes_nothing(expression):
    """The explicit form means what the expression meant."""
    if not grammar.check(expression):
        parsed = grammar.parse(expression)
        assert grammar.parse(" ".join(parsed.fields)).fields == parsed.fields


@pytest.mark.parametrize(
    ("expression", "wildcard"),
    [
        ("30 2 * * *", False),
        ("*/30 2 * * *", True),
        ("0 * * * *", True),
        ("0 */2 * * *", True),
        ("0 0-23 * * *", False),
        ("H H * * *", False),
        ("H * * * *", True),
        ("0 2 * * * *", False),
        ("@hourly", True),
        ("@daily", False),
    ],
)
def test_a_star_in_front_of_minute_or_hour_makes_a_wildcard(expression, wildcard):
    """It is the spelling that counts, as in Debian's cron: 0-23 is not *."""
    assert grammar.parse(expression).wildcard_time == wildcard
