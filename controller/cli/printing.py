"""Answers on standard output in the form that was asked for: JSON, YAML, names. Tables are printed by the verbs that have them.

Invariant: what is printed as JSON is one document, complete, and ends with a newline.
"""

import json
import sys
from typing import Any

import click

FORMATS = ("table", "wide", "json", "yaml", "name")
DOCUMENTS = ("json", "yaml")


def document(data: bytes, form: str) -> str:
    """JSON bytes as a document in `form`, `json` or `yaml`."""
    if form == "json":
        # 30 ms to import, and only here; the standard library would take seconds for ten thousand jobs.
        import msgspec  # noqa: PLC0415

        return msgspec.json.format(data, indent=2).decode() + "\n"
    import yaml  # noqa: PLC0415 - as above

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(json.loads(data), Dumper=dumper, sort_keys=False, allow_unicode=True, width=120))


def show(data: bytes, form: str) -> None:
    """Print JSON bytes as a document."""
    sys.stdout.write(document(data, form))


def decoded(data: bytes) -> Any:
    """JSON bytes as values."""
    return json.loads(data)


def answer(value: Any, form: str, text: str) -> None:
    """Print the answer of a verb: the value as JSON or YAML, or a sentence."""
    if form in DOCUMENTS:
        show(json.dumps(value).encode(), form)
    else:
        click.echo(text)
