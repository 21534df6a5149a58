"""Conditions in CEL: compiled once, evaluated to a bool, never able to stall or end the process.

`kinds` and `reconcile.check` compile to check a document, `finalise` evaluates with what parents left behind. Invariant: `evaluate`
returns a bool or raises CelError, whatever the expression and the values are. Source: https://github.com/google/cel-spec
"""

import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from controller.base import cel_shape

MAX_MAP = 256
"""Entries of one map or list that a comprehension may meet; more is an error of the evaluation."""

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]+)")


class CelError(ValueError):
    """The expression cannot be used, or gave no bool; the message says where and why."""


class Expression:
    """A condition that can be evaluated any number of times, from any thread. Made by `compile`."""

    def __init__(self, text: str, shape: cel_shape.Shape, program: Any) -> None:
        self.text = text
        self.variables = shape.variables
        self._has_macros = shape.has_macros
        self._program = program

    def evaluate(self, values: Mapping[str, Any]) -> bool:
        """The truth of the condition for `values`, of which only the variables that it names are read.

        Shape:  text, bool, int, float, None, lists, and dicts with text keys. The caller bounds their size.
        Errors: CelError for anything but a bool: missing value or key, wrong types, overflow. The caller takes it for false.
        """
        missing = sorted(self.variables - values.keys())
        if missing:
            raise CelError(f"no value for {', '.join(missing)}")
        inputs = {name: values[name] for name in self.variables}
        if self._has_macros and _largest(inputs) > MAX_MAP:
            raise CelError(f"a map or list has more than {MAX_MAP} entries, too many for a comprehension")
        return _run(self._program, inputs)


@lru_cache(maxsize=1024)
def compile(text: str, variables: frozenset[str]) -> Expression:  # noqa: A001 - reads as cel.compile
    """The condition ready for use; equal texts share one.

    Errors: CelError with line and column: syntax, a name that is not in `variables`, an unknown function, a comprehension inside
    another, an expression too long, too deep or too costly.
    """
    library = _library()
    try:
        shape = cel_shape.inspect(text, variables)
        library.compile(text)
        for pattern in shape.patterns:
            _check_pattern(library, pattern)
        # Compiled alone first, so that no bracket in the text can pair with these; the choice refuses whatever is no bool before
        # the library turns it into a Python value.
        program = library.compile(f"(\n{text}\n) ? true : false")
    except (cel_shape.ShapeError, CelError) as error:
        raise CelError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - the library raises whatever fits the failure
        raise CelError(_syntax(str(error))) from None
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
        _reraise_unless_panic(error)
        raise CelError("the expression cannot be compiled") from None
    return Expression(text, shape, program)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The CEL library, loaded on first use and without the terminal program that its package brings.

    The package's own `__init__` loads rich, prompt-toolkit and more: thirty times the memory and time of the part that counts.
    """
    name = "cel.cel"
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("cel")
    folders = package.submodule_search_locations if package is not None else None
    spec = importlib.machinery.PathFinder.find_spec(name, folders)
    if spec is None or spec.loader is None:
        return importlib.import_module("cel")
    module = importlib.util.module_from_spec(spec)
    # It can be initialised once a process, so whoever imports the package later must find this one.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _check_pattern(library: Any, pattern: str) -> None:
    """Try a regular expression, which the library would look at only when it meets it."""
    try:
        library.compile(f"''.matches({pattern})").execute({})
    except RuntimeError as error:
        what = str(error).rpartition("error: ")[2].partition(". Check")[0]
        raise CelError(f"{pattern} is not a regular expression: {_one_line(what)}") from None


def _run(program: Any, inputs: dict[str, Any]) -> bool:
    try:
        result = program.execute(inputs)
    except Exception as error:  # noqa: BLE001 - the library raises whatever fits the failure
        raise CelError(_failure(error)) from None
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
        _reraise_unless_panic(error)
        raise CelError("the evaluation failed inside the CEL library") from None
    return bool(result)


def _reraise_unless_panic(error: BaseException) -> None:
    # A panic of the library arrives as a BaseException that no module exports.
    if type(error).__name__ != "PanicException":
        raise error


def _syntax(message: str) -> str:
    match = _PLACE.search(message)
    if match is None:
        return f"the expression cannot be read: {message[:200]}"
    what = match[3].partition(" expecting ")[0].replace("'<EOF>'", "the end")
    return f"line {match[1]}, column {match[2]}: {what}"


def _failure(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error}"
    if isinstance(error, TypeError) and "No such overload" in str(error):
        return "an operation does not fit its values, or the condition is no bool; int() and string() convert"
    return _one_line(str(error).partition(". ")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _largest(value: Any) -> int:
    """The number of entries of the largest map or list inside `value`."""
    if isinstance(value, Mapping):
        return max([len(value), *map(_largest, value.values())])
    if isinstance(value, list | tuple):
        return max([len(value), *map(_largest, value)])
    return 0
