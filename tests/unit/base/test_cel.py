"""Conditions: what they mean, what is refused before it runs, and that none of them hurts the process."""

import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.base import cel

VARIABLES = frozenset({"parents", "outputs", "parameters"})
VALUES = {
    "parents": {"build": {"state": "Succeeded", "exitCode": 0}, "lint": {"state": "Failed", "exitCode": 3}},
    "outputs": {"build": {"stdout": "hello world\n", "values": {"version": "1.4.2", "count": "7"}}},
    "parameters": {"region": "eu"},
}


def evaluate(text, values=VALUES):
    return cel.compile(text, VARIABLES).evaluate(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("parents['build'].exitCode == 0", True),
        ("parents.lint.state == 'Failed' && parents.build.state == 'Succeeded'", True),
        ("outputs['build'].stdout.contains('world')", True),
        ("outputs['build'].stdout.matches('^hello [a-z]{5}')", True),
        ("int(outputs['build'].values.count) > 9", False),
        ("outputs.build.values['version'].startsWith('1.')", True),
        ("'lint' in parents && !('deploy' in parents)", True),
        ("has(outputs.lint)", False),
        ("has(outputs.lint) && outputs.lint.stdout == ''", False),
        ("parents.exists(name, parents[name].exitCode > 2)", True),
        ("parents.all(name, parents[name].exitCode == 0)", False),
        ("parents.exists_one(name, parents[name].state == 'Failed')", True),
        ("parents.filter(name, parents[name].exitCode == 0).size() == 1", True),
        ("size(outputs['build'].values.filter(key, key != 'count')) == 1", True),
        ("outputs['build']['values'].filter(key, false) == []", True),
        ("parents.exists(a, a == 'x') || parents.exists(a, a == 'build')", True),
        ("parameters.region == 'eu' ? size(parents) == 2 : false", True),
        ("parents.build.exitCode + 1 == 1", True),
        ("duration('90m') > duration('1h')", True),
        ("timestamp('2026-06-01T12:00:00Z').getHours() == 12", True),
        ("'a{b[c(' == r'a{b[c('", True),
        ("true // a comment with ( and '", True),
        ("\n  true\n  && true\n", True),
        ("'''a\n'b''' != \"\"\"c\"\"\"", True),
        ("{'x': [1, 2]}.x[1] == 2", True),
        ("0x10 == 16 && 1.5e1 == 15.0 && 7u == 7u", True),
    ],
)
def test_a_condition_has_the_meaning_of_cel(text, expected):
    """Over what parents left behind."""
    assert evaluate(text) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("outputs['lint'].stdout == ''", "there is no 'lint'"),
        ("1", "no bool"),
        ("'true'", "no bool"),
        ("parents", "no bool"),
        ("[parents, parents]", "no bool"),
        ("null", "no bool"),
        ("parents.build.exitCode", "no bool"),
        ("parents.build.exitCode == 0 && 'yes'", "no bool"),
        ("1 / 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 == 0", "verflow"),
        ("-9223372036854775808 / -1 == 0", "verflow"),
        ("int('seven') == 7", "invalid digit"),
        ("[1][9223372036854775807] == 1", "out of bounds"),
        ("'a' < 1", "does not fit"),
        ("timestamp('tomorrow') == timestamp('tomorrow')", "timestamp"),
    ],
)
def test_a_condition_that_fails_says_why(text, said):
    """CelError, which the caller takes for false, with one line."""
    with pytest.raises(cel.CelError, match=said) as raised:
        evaluate(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("  // nothing", "is empty"),
        ("parents.build.exitCode ==", "line 1, column 26"),
        ("true &&\n  )", "line 2, column 3: ) closes nothing"),
        ("true &&\n (parents", "line 2, column 2: ( is not closed"),
        ("(true]", "line 1, column 6: ] closes nothing"),
        ("parents == 'open", "line 1, column 12: the quote is not closed"),
        ("true; false", "line 1, column 5: unexpected character ';'"),
        ("a ` b", "unexpected character '`'"),
        ("'\\q' == ''", "line 1, column 1"),
        ("true) || (true", "line 1, column 5: ) closes nothing"),
        ("parent.build.exitCode == 0", "line 1, column 1: unknown name parent: known are outputs, parameters, parents"),
        ("x == 1 || parents.exists(x, true)", "line 1, column 1: unknown name x"),
        ("{parent: 1} == {}", "unknown name parent"),
        (".parents == 1", "unknown name parents"),
        ("optional.of(1) == 1", "unknown name optional"),
        ("now() > 1", "unknown function now()"),
        ("parents.size2() > 1", "unknown function .size2()"),
        ("exists(parents, x, true)", "unknown function exists()"),
        ("Foo{a: 1} == 1", "there is no type Foo"),
        ("cel.bind(x, 1, x == 1)", "unknown"),
        ("parents.exists(a, outputs.exists(b, a == b))", "line 1, column 27: exists inside another comprehension"),
        ("parents.all(a, [1].filter(b, true).size() == 1)", "filter inside another comprehension"),
        ("[[1]].exists(a, a.exists(b, b == 1))", "exists inside another comprehension"),
        ("parents.map(a, a) == []", "map is not supported"),
        ("[outputs, outputs].filter(a, true) == []", "filter works on an input itself"),
        ("(true ? outputs : outputs).filter(a, true) == []", "filter works on an input itself"),
        ("outputs.filter(a, true).filter(a, true) == []", "filter works on an input itself"),
        ("[outputs][0].filter(a, true) == []", "filter works on an input itself"),
        ("parents.exists(parents, true)", "parents is the name of an input"),
        ("parents.exists(true, true)", "write exists(name, condition)"),
        ("parents.exists(a)", "write exists(name, condition)"),
        ("parents.exists()", "write exists(name, condition)"),
        ("parents.exists(a.b, true)", "write exists(name, condition)"),
        ("parents.exists(a, a + 'x' == '')", "+ inside exists"),
        ("parents.exists(a, a.matches('x'))", "matches inside a comprehension"),
        ("'a'.matches(parameters.region)", "written out"),
        ("'a'.matches('a' + 'b')", "written out"),
        ("'a'.matches('(')", "not a regular expression"),
        ("'a'.matches('a{50}{50}')", "multiply to more than 100"),
        ("'a'.matches('" + "a" * 300 + "')", "longer than 256"),
        ("'" + "a" * 5000 + "' == ''", "at most 4096"),
        ("'" + "\u20ac" * 1500 + "' == ''", "at most 4096"),
        ("(" * 17 + "true" + ")" * 17, "nested deeper than 16"),
        (" + ".join(["1"] * 66) + " > 1", "more than 64 additions"),
        ("!" * 201 + "true", "more than 200 operators"),
        ("[" + ",".join(["1"] * 65) + "] == []", "more than 64 elements"),
        (" || ".join(["parents.exists(a, true)"] * 5), "more than 4 of"),
        ("parents.exists(a, " + "!" * 70 + "true)", "more than 64 parts"),
        (" || ".join(["'a'.matches('b')"] * 5), "more than 4 regular expressions"),
        ("\ud800 == 1", "unexpected character"),
        ("'\ud800' == ''", "cannot be read"),
    ],
)
def test_what_is_refused_is_refused_before_it_runs_with_its_place(text, said):
    """Line and column where there is one, and what to do."""
    with pytest.raises(cel.CelError) as raised:
        cel.compile(text, VARIABLES)
    assert said in str(raised.value)
    assert "expecting {" not in str(raised.value)


def test_a_condition_names_its_inputs_and_needs_only_those():
    """What it does not mention need not be there."""
    condition = cel.compile("'lint' in parents || parents.exists(parameter, parameter == 'x')", VARIABLES)
    assert condition.variables == {"parents"}
    assert condition.evaluate({"parents": VALUES["parents"]}) is True
    with pytest.raises(cel.CelError, match="no value for parents"):
        condition.evaluate({"outputs": {}})


def test_a_comprehension_over_too_much_is_an_error_and_a_lookup_is_not():
    """Inputs of a comprehension are bounded too."""
    many = {**VALUES, "outputs": {"build": {"stdout": "", "values": {f"k{n}": "v" for n in range(300)}}}}
    assert evaluate("outputs.build.values.k299 == 'v'", many) is True
    with pytest.raises(cel.CelError, match="more than 256 entries"):
        evaluate("outputs.build.values.exists(k, k == 'k299')", many)


@pytest.mark.parametrize(
    "value", [2**70, object(), {"a": object()}, {1: {2}}, float("nan"), "\ud800", b"\xff", -(2**63)]
)
def test_no_value_hurts(value):
    """Values that CEL cannot hold are an error of the evaluation, or simply unequal."""
    with suppress(cel.CelError):
        assert evaluate("parameters == 'x'", {"parameters": value}) is False


@settings(max_examples=200)
@given(st.text(alphabet="parents.exi(a,)[]{}'\"\\&|=+-!?:1 \n", max_size=60) | st.text(max_size=60))
def test_any_text_is_either_compiled_or_refused(text):
    """Nothing but CelError ever comes out, neither at compile time nor later."""
    with suppress(cel.CelError):
        assert evaluate(text) in (True, False)


IN_A_SMALL_THREAD = """
import json, sys, threading
from controller.base import cel
given = json.load(sys.stdin)
said = []
def run():
    for text in given["expressions"]:
        try:
            said.append(cel.compile(text, frozenset(given["values"])).evaluate(given["values"]))
        except cel.CelError as error:
            said.append(str(error))
threading.stack_size(512 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
json.dump(said, sys.stdout)
"""

BIG = {
    "parents": {f"job{n}": {"state": "Succeeded", "exitCode": 0} for n in range(16)},
    "outputs": {f"job{n}": {"stdout": "01" * 32768, "values": {f"k{m}": "v" for m in range(250)}} for n in range(16)},
    "parameters": {f"p{n}": "x" * 1000 for n in range(32)},
}


def in_a_small_thread(expressions):
    """What each expression says with large inputs, in a process of its own, on a stack of 512 KiB."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SMALL_THREAD],
        input=json.dumps({"expressions": expressions, "values": BIG}),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"the process died of {done.returncode}: {done.stderr[-2000:]}"
    said = json.loads(done.stdout)
    assert len(said) == len(expressions)
    return said


def test_no_hostile_expression_ends_or_stalls_the_process():
    """Depth, length, size, evil regular expressions: each ends as a bool or as CelError, on a small stack, in bounded time."""
    big = "outputs.job1.stdout"
    values = "outputs.job1.values"
    ones = "[" + ",".join(["1"] * 64) + "]"
    expressions = [
        "(" * 2000 + "1" + ")" * 2000,
        "[" * 2000,
        "{1:" * 800 + "1" + "}" * 800,
        "!" * 4000 + "true",
        "- " * 1900 + "1 == 1",
        "+".join(["1"] * 2000) + " > 1",
        "<".join(["1"] * 2000),
        "parents" + ".a" * 1900,
        "parents" + "[0]" * 1300,
        "parents" + ".size()" * 500,
        "true ? " * 500 + "true" + " : true" * 100,
        "&&".join(["true"] * 600),
        "||".join(["false"] * 500),
        "[" + ",".join(["1"] * 2000) + "] == []",
        "+".join([big] * 64) + " == ''",
        "+".join([f"[{big},{big},{big}]"] * 50) + " == []",
        f"{ones}.exists(i, " + "||".join([f"{big}.contains('aab')"] * 5) + ")",
        f"{ones}.exists(i, " + "||".join([f"string(bytes({big})) == 'a'"] * 4) + ")",
        "[" + ",".join(["outputs"] * 64) + "].filter(i, true).size() == 64",
        f"{values}.exists(k, " + "||".join([f"{values}[k] == 'q'"] * 4) + ")",
        "outputs.filter(j, outputs[j] == outputs).size() == 1",
        "outputs.exists(j, outputs[j].values.exists(k, true))",
        "[1].map(a, [a,a]).map(a, [a,a]).map(a, [a,a]) == []",
        *(
            f"{big}.matches('{pattern}')"
            for pattern in (
                "(a+)+$",
                "(0|01)+$",
                "(0*)*1$",
                "(.*)(.*)(.*)(.*)(.*)x",
                "[01]*1[01]{99}x",
                r"(\\w{10}){10}x",
                r"\\pL{100}x",
                "a{1000}{1000}{1000}",
                "(?i)((.*1.*){10}){10}x",
                "(" * 200 + ")" * 50,
            )
        ),
        "'" + "a" * 4000 + "' == ''",
        "timestamp('9999-12-31T23:59:59Z') + duration('99999999h') == timestamp('9999-12-31T23:59:59Z')",
    ]
    assert all(isinstance(said, bool) or said for said in in_a_small_thread(expressions))


def test_random_expressions_within_the_limits_never_end_the_process():
    """Six hundred expressions of every construct, as deep and wide as is let through."""
    rng = random.Random(20260601)
    said = in_a_small_thread([grown(rng, rng.randrange(2, 14)) for _ in range(600)])
    assert sum(isinstance(one, bool) for one in said) > 3
    assert sum(isinstance(one, str) and one.startswith("line") for one in said) < 540


def grown(rng, depth):
    """A random expression."""

    def sub():
        return grown(rng, depth - 1)

    if depth <= 0 or rng.random() < 0.1:
        return rng.choice(
            [
                "1",
                "'a'",
                "true",
                "parents",
                "outputs.job1.stdout",
                "parameters.p1",
                "outputs.job2.values",
                "null",
                "[1, 2]",
                "-1",
                "1.5",
            ]
        )
    operator = rng.choice([" + ", " == ", " < ", " && ", " || ", " in ", " * ", " - ", " % ", " / "])
    conversion = rng.choice(["size", "string", "bytes", "int", "double", "timestamp", "duration"])
    method = rng.choice(["contains", "startsWith", "endsWith"])
    macro = rng.choice(["exists", "all", "filter", "exists_one"])
    return rng.choice(
        [
            lambda: f"({sub()})",
            lambda: f"[{sub()}, {sub()}]",
            lambda: f"{{{sub()}: {sub()}}}",
            lambda: rng.choice("!-") * rng.randrange(1, 4) + sub(),
            lambda: f"{sub()} ? {sub()} : {sub()}",
            lambda: operator.join(sub() for _ in range(rng.randrange(2, 12))),
            lambda: f"{sub()}[{sub()}]",
            lambda: sub() + rng.choice([".values", ".stdout", ".x"]) * rng.randrange(1, 60),
            lambda: f"{conversion}({sub()})",
            lambda: f"{sub()}.{method}({sub()})",
            lambda: f"{sub()}.{macro}(e, e == ({sub()}))",
            lambda: sub() + "[0]" * rng.randrange(1, 60),
            lambda: f"has({sub()}.x)",
        ]
    )()


def test_compiling_loads_no_terminal_program():
    """The package brings one along; a controller neither needs its memory nor its start-up time."""
    code = "import sys; from controller.base import cel; cel.compile('true', frozenset()); import cel as p; print('typer' in sys.modules, p.evaluate('1 + 1'))"
    first = code.replace("; import cel as p", "").replace(", p.evaluate('1 + 1')", "")
    root = Path(__file__).parents[3]
    for program, expected in ((first, "False"), (code, "True 2")):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120, check=True
        )
        assert done.stdout.strip() == expected


def test_equal_conditions_share_one_compiled_form():
    """Compile once, evaluate often."""
    assert cel.compile("true", VARIABLES) is cel.compile("true", VARIABLES)
