"""`jobwarden get`: lists and single things, as a table, JSON, YAML or names, once or for as long as somebody watches.

Start-up time counts here more than anywhere: nothing that is slow to import may be imported at the top of this module.
"""

import json
import sys
import time
from typing import Any

import click

from controller.cli import asking, nouns, printing
from controller.cli.columns import align
from controller.cli.completing import names_of_noun
from controller.cli.settings import Settings, all_namespaces_option, current, note, output_option, verb

_WATCH_SECONDS = 1.0


@verb(
    """
jobwarden get jobs
jobwarden get runs -A -o wide
jobwarden get jobs backup -o json
jobwarden get jobs -l team=data,tier!=test -w
jobwarden get queue --all --job backup
"""
)
@click.argument(
    "noun", metavar="KIND", shell_complete=lambda _c, _p, part: [one for one in nouns.NOUNS if one.startswith(part)]
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=names_of_noun)
@click.option("-l", "--selector", metavar="SELECTOR", default="", help="Labels, such as team=data,tier!=test.")
@click.option("--job", metavar="NAME", help="Only what belongs to this job (runs, queue, approvals).")
@click.option("--all", "everything", is_flag=True, help="Also dispatches that have ended (queue).")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of the newest (runs, queue).")
@click.option("-w", "--watch", is_flag=True, help="Go on and print what changes.")
@all_namespaces_option
@output_option(*printing.FORMATS)
def get(noun: str, name: str | None, output: str, **asked: Any) -> None:
    """List jobs, runs, queue, approvals, pools, targets, identities, credentialpolicies, contracts, policies, providers or sources; or show the one called NAME."""
    kind = nouns.noun_of(noun, click.get_current_context())
    question = {
        "name": nouns.bare(name),
        "selector": asked["selector"] or None,
        "job": nouns.bare(asked["job"]),
        "all": asked["everything"],
        "limit": asked["limit"],
    }
    answer: _Documents | _Table = (
        _Documents(current(), kind, question, output)
        if output in printing.DOCUMENTS
        else _Table(current(), kind, question, output)
    )
    answer.print(watched=asked["watch"])
    while asked["watch"]:
        time.sleep(_WATCH_SECONDS)
        answer.print_changes()


class _Table:
    """A list as rows; remembers what it printed."""

    def __init__(self, settings: Settings, kind: str, question: dict[str, Any], output: str) -> None:
        self._settings, self._kind, self._question, self._output = settings, kind, question, output
        self._widths: list[int] = []
        self._seen: dict[tuple[str, ...], tuple[str, ...]] = {}

    def print(self, *, watched: bool) -> None:
        """The whole list; remembered only if it will be `watched`."""
        table = self._read()
        if not table["rows"]:
            where = (
                f" in the namespace {self._settings.scope}" if self._settings.scope and self._kind != "sources" else ""
            )
            note(f"No {'dispatches' if self._kind == 'queue' else self._kind} found{where}.")
        if watched:
            self._changed(table)
        self._write(table["columns"] if table["rows"] else [], table["columns"], table["rows"])

    def print_changes(self) -> None:
        """Rows that are new or differ from what was printed before in more than the passing of time."""
        table = self._read()
        heading = [] if self._seen else table["columns"]
        if changed := self._changed(table):
            self._write(heading, table["columns"], changed)

    def _read(self) -> Any:
        wide = self._output == "wide"
        if self._kind == "jobs" and not self._question["selector"]:
            table = asking.job_table(self._settings, self._question["name"], wide=wide)
        else:
            table = asking.ask(self._settings, self._kind, table=True, wide=wide, **self._question)
        following = table.get("following")
        while following and not self._question["limit"]:
            more = asking.ask(self._settings, self._kind, table=True, wide=wide, after=following, **self._question)
            table["rows"] += more["rows"]
            following = more.get("following")
        return table

    def _changed(self, table: Any) -> list[list[str]]:
        lasting = [index for index, column in enumerate(table["columns"]) if column not in table["volatile"]]
        keys = slice(0, 2 if table["columns"][0] == "NAMESPACE" else 1)
        changed = []
        for row in table["rows"]:
            state = tuple(row[index] for index in lasting)
            if self._seen.get(tuple(row[keys])) != state:
                self._seen[tuple(row[keys])] = state
                changed.append(row)
        return changed

    def _write(self, heading: list[str], columns: list[str], rows: list[list[str]]) -> None:
        if self._output == "name":
            at = columns.index("NAME")
            lines = [f"{nouns.SINGULAR[self._kind]}/{row[at]}" for row in rows]
        else:
            lines = align(heading, rows, self._widths)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


class _Documents:
    """Things as JSON or YAML documents; remembers what it printed."""

    def __init__(self, settings: Settings, kind: str, question: dict[str, Any], output: str = "json") -> None:
        self._settings, self._kind, self._question, self._output = settings, kind, question, output
        self._seen: dict[tuple[str, ...], Any] = {}

    def print(self, *, watched: bool) -> None:
        """Everything, as one document; remembered only if it will be `watched`."""
        data = self._read()
        if watched:
            self._changed(data)
        printing.show(data, self._output)
        sys.stdout.flush()

    def print_changes(self) -> None:
        """Each thing that is new or has changed, as a document of its own."""
        for item in self._changed(self._read()):
            sys.stdout.write("---\n" if self._output == "yaml" else "")
            printing.show(json.dumps(item).encode(), self._output)
        sys.stdout.flush()

    def _read(self) -> bytes:
        data = asking.view(self._settings, self._kind, **self._question)
        # A mark of a further page is rare, and looking for it is quicker than decoding.
        if b'"continue":"' not in data[-400:] or self._question["limit"]:
            return data
        whole = json.loads(data)
        following = whole.pop("metadata", {}).get("continue")
        while following:
            more = json.loads(asking.view(self._settings, self._kind, after=following, **self._question))
            whole["items"] += more["items"]
            following = more.get("metadata", {}).get("continue")
        return json.dumps(whole).encode()

    def _changed(self, data: bytes) -> list[Any]:
        found = json.loads(data)
        changed = []
        for item in found.get("items", [found]):
            metadata = item["metadata"]
            key = (metadata.get("namespace", ""), metadata["name"])
            if self._seen.get(key) != item:
                self._seen[key] = item
                changed.append(item)
        return changed
