"""`jobwarden describe`: everything about one thing, for a person to read.

Invariant: conditions that need a person stand first, and nothing is shown that `get -o json` would hide.
"""

import sys
from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.columns import align
from controller.cli.completing import names_of_noun
from controller.cli.explain import account
from controller.cli.settings import current, output_option, verb

_LONG = ("output", "conditions", "errors", "decisions")


@verb(
    """
jobwarden describe job backup
jobwarden describe run backup-7kq2mx4a
jobwarden describe source manifests
"""
)
@click.argument(
    "noun", metavar="KIND", shell_complete=lambda _c, _p, part: [one for one in nouns.NOUNS if one.startswith(part)]
)
@click.argument("name", metavar="NAME", required=False, shell_complete=names_of_noun)
@output_option("text", "json", "yaml")
def describe(noun: str, name: str | None, output: str) -> None:
    """Show everything about one job, run, approval, pool, target, document of trust or source. KIND may be left out for a job."""
    context = click.get_current_context()
    if name is None and nouns.known(noun):
        raise click.UsageError(f"which {nouns.SINGULAR[nouns.noun_of(noun, context)]}? a name is missing", context)
    kind, named = ("jobs", noun) if name is None else (nouns.noun_of(noun, context), name)
    data = asking.view(current(), "describe", kind=kind, name=nouns.bare(named))
    if output in printing.DOCUMENTS:
        printing.show(data, output)
        return
    sys.stdout.write("\n".join(_lines(printing.decoded(data))) + "\n")


def _lines(thing: Any) -> list[str]:
    about = thing.pop("about", {})
    status = thing.get("status", {})
    lines = [f"{thing['kind']}: {thing['metadata']['name']}"]
    lines += _fields({key: value for key, value in thing["metadata"].items() if key != "name"}, "")
    lines += ["", "Spec:", *_yaml(thing.get("spec", {})), "", "Status:"]
    lines += _fields({key: value for key, value in status.items() if key not in _LONG}, "  ")
    if conditions := status.get("conditions"):
        rows = [[one["type"], one["status"], one["reason"], one["message"]] for one in conditions]
        lines += [
            "",
            "Conditions:",
            *(f"  {line}".rstrip() for line in align(["TYPE", "STATUS", "REASON", "MESSAGE"], rows)),
        ]
    lines += _output(status.get("output") or {})
    for problem in (about.get("source") or {}).get("problems", []) + status.get("errors", []):
        lines += ["", f"Problem: {problem['file']}:{problem['line']}: {problem['message']}"]
        lines += [f"  hint: {problem['hint']}"] if problem["hint"] else []
    if "next" in about:
        lines += ["", *account(about)]
    for title, key in (("Requests", "requests"), ("Events", "events")):
        if entries := about.get(key):
            rows = [[str(cell) for cell in one.values()] for one in entries]
            lines += ["", f"{title}:", *(f"  {line}" for line in align([], rows))]
    return lines


def _fields(values: Any, indent: str) -> list[str]:
    """Fields one a line; what is empty is left out."""
    lines = []
    for key, value in values.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, dict | list):
            lines += [f"{indent}{key}:", *(f"{indent}  {line}" for line in _yaml(value, ""))]
        else:
            lines.append(f"{indent}{key}: {value}")
    return lines


def _output(output: Any) -> list[str]:
    lines = []
    for stream in ("stdout", "stderr"):
        if text := output.get(stream):
            lines += ["", f"Last of {stream}:", *(f"  {line}" for line in text.splitlines()[-20:])]
    return lines


def _yaml(value: Any, indent: str = "  ") -> list[str]:
    import yaml  # noqa: PLC0415 - slow to import

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)
    return [f"{indent}{line}" for line in text.splitlines()]
