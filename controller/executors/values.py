"""Values of a run's declared variables, looked up at its start and never stored.

`dispatch` resolves them just before it makes an `ExecutionRequest`; `environment` puts them under the run's own variables.
Invariant: either every variable has a value or the run does not start; a message names the variable and what to change, never a value.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from controller.base import references
from controller.base.references import Allowed, Unreadable
from controller.domain.job import EnvVar


class Resolved(msgspec.Struct, frozen=True):
    """Name to value of every declared variable. `secrets`: those values that came from outside the manifest, to be masked wherever text is kept."""

    values: Mapping[str, str]
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Resolved(***)"


NOTHING = Resolved({})


def resolve(
    declared: Iterable[EnvVar], fields: Mapping[str, str], allowed: Allowed, environment: Mapping[str, str]
) -> Resolved | Unreadable:
    """Look up every variable, in order; of two with one name the later wins.

    Shape:  `fields` has a value for each path that `fieldRef` may name, such as `metadata.name` or `metadata.labels['team']`.
    Effect: reads files; where any variable has a `file_ref`, call it on a worker thread.
    """
    values: dict[str, str] = {}
    secrets: list[str] = []
    for one in declared:
        found = _look_up(one, fields, allowed, environment)
        if isinstance(found, Unreadable):
            return Unreadable(f"variable {one.name} of spec.env: {found.message}", found.permanent)
        if "\0" in found:
            message = f"variable {one.name} of spec.env: its value holds a NUL byte, which no variable can"
            return Unreadable(message, permanent=True)
        values[one.name] = found
        if one.file_ref is not None or one.env_ref is not None:
            secrets.append(found)
    return Resolved(values, tuple(secrets))


def _look_up(
    one: EnvVar, fields: Mapping[str, str], allowed: Allowed, environment: Mapping[str, str]
) -> str | Unreadable:
    if one.value is not None:
        return one.value
    if one.file_ref is not None:
        return references.file(Path(one.file_ref), allowed)
    if one.env_ref is not None:
        return references.variable(one.env_ref, allowed, environment)
    if one.field_ref is not None:
        value = fields.get(one.field_ref)
        return value if value is not None else _no_field(one.field_ref, fields)
    return Unreadable("it has neither a value nor a reference", permanent=True)


def _no_field(path: str, fields: Mapping[str, str]) -> Unreadable:
    return Unreadable(f"the job has no {path}: use one of {', '.join(sorted(fields))}", permanent=True)
