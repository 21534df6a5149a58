"""Which values a run's parameters have: what was asked for, else an ancestor's output, else the default."""

from collections.abc import Mapping

import msgspec

from controller.base.patterns import compile_pattern
from controller.domain.job import Parameter


class Resolved(msgspec.Struct, frozen=True):
    """`missing` are required and have no value, `invalid` do not match their pattern, `unknown` were given but not declared."""

    values: Mapping[str, str]
    missing: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def resolve(
    declared: tuple[Parameter, ...], given: Mapping[str, str], outputs: Mapping[str, Mapping[str, str]] | None = None
) -> Resolved:
    """Resolve against what was given and `outputs` (by job, then key, of succeeded ancestors). Pure."""
    if not declared and not given:
        return _NOTHING
    values: dict[str, str] = {}
    missing: list[str] = []
    invalid: list[str] = []
    for parameter in declared:
        value = _value(parameter, given, outputs or {})
        if value is None:
            if parameter.required or parameter.parent_output is not None:
                missing.append(parameter.name)
        elif parameter.pattern is not None and not compile_pattern(parameter.pattern)(value):
            invalid.append(parameter.name)
        else:
            values[parameter.name] = value
    names = {parameter.name for parameter in declared}
    return Resolved(values, tuple(missing), tuple(invalid), tuple(sorted(set(given) - names)))


def _value(parameter: Parameter, given: Mapping[str, str], outputs: Mapping[str, Mapping[str, str]]) -> str | None:
    if parameter.name in given:
        return given[parameter.name]
    if parameter.parent_output is not None:
        job, key = parameter.parent_output
        if key in outputs.get(job, {}):
            return outputs[job][key]
    return parameter.default


_NOTHING = Resolved({})
