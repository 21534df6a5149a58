"""The parts of README.md and ARCHITECTURE.md that follow from the code, and the chart's copies: `python -m tests.contract.generate` writes them, tests compare them.

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`; `BLOCKS` says who makes it. Invariant: the same code gives the same text.
"""

import ast
import configparser
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from controller.base.metrics import Metrics, PrometheusMetrics, StoreCounters
from controller.domain.reasons import Reason
from controller.domain.states import APPROVAL, DISPATCH, RUN, ApprovalState, DispatchState, RunState

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md")
_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)


def settings() -> str:
    """The fields of jobwarden.yaml, from its schema."""
    schema = json.loads((ROOT / "schemas/jobwarden.schema.json").read_text())
    rows = ["| field | default | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{path}` | {default} | {text} |" for path, default, text in _fields(schema, "")]
    return "\n".join(rows) + "\n"


def _fields(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in schema["properties"].items():
        if not prefix and name in ("apiVersion", "kind", "metadata"):
            continue
        path = f"{prefix}{name}"
        items = field.get("items", {})
        default = f"`{_default(field['default'])}`" if field.get("default") not in (None, [], "") else ""
        inner = field if "properties" in field else items if "properties" in items else None
        if inner is None:
            yield path, default, _cell(field["description"])
        else:
            yield from _fields(inner, f"{path}[]." if inner is items else f"{path}.")


def _default(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def metrics() -> str:
    """The metrics that something in the controller feeds, from the registry and from who calls what."""
    made = PrometheusMetrics(version="", mode="", store="")
    made.store_counters(lambda: StoreCounters(0, 0))
    wrappers = {value._name: value for value in vars(made).values() if hasattr(value, "_labelnames")}
    fed = {vars(made)[name]._name for name in _fed() if hasattr(vars(made).get(name), "_labelnames")}
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for family in sorted(made.registry.collect(), key=lambda one: one.name):
        if not family.name.startswith(("jobwarden_", "leader_election_")) or (
            family.name in wrappers and family.name not in fed
        ):
            continue
        labels = ", ".join(f"`{one}`" for one in getattr(wrappers.get(family.name), "_labelnames", ()))
        suffix = "_total" if family.type == "counter" else ""
        rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {_cell(family.documentation)} |")
    return "\n".join(rows) + "\n"


def _fed() -> set[str]:
    """Attributes of PrometheusMetrics that are reached from a call of one of its methods somewhere in the controller."""
    module = ast.parse((ROOT / "controller/base/metrics.py").read_text())
    [made] = [
        node for node in module.body if isinstance(node, ast.ClassDef) and node.name == PrometheusMetrics.__name__
    ]
    uses = {
        method.name: {
            node.attr
            for node in ast.walk(method)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        }
        for method in made.body
        if isinstance(method, ast.FunctionDef)
    }
    todo, reached = list(_called() - {"__init__", "render", "job_removed"}), {"_build"}
    while todo:
        for attribute in uses.get(todo.pop(), set()) - reached:
            reached.add(attribute)
            if attribute in uses:
                todo.append(attribute)
    return reached


def _called() -> set[str]:
    methods = {name for name in vars(Metrics) if not name.startswith("_")}
    found = set()
    for path in (ROOT / "controller").rglob("*.py"):
        if path.name == "metrics.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                receiver = ast.unparse(node.func.value)
                if receiver.endswith(("metrics", "made")):
                    found.add(node.func.attr)
    return found


def layers() -> str:
    """The layer block of .importlinter."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    return "```\n" + config["importlinter:contract:layers"]["layers"].strip() + "\n```\n"


def states() -> str:
    """The state tables as diagrams."""
    parts = []
    for title, words, table, start in (
        ("dispatch", DispatchState, DISPATCH, DispatchState.Pending),
        ("run", RunState, RUN, RunState.Running),
        ("approval", ApprovalState, APPROVAL, ApprovalState.Pending),
    ):
        parts.append(f"A {title}:\n\n```mermaid\nstateDiagram-v2\n{_diagram(words, table, start)}\n```\n")
    return "\n".join(parts).replace("A approval", "An approval")


def _diagram(words: type[StrEnum], table: Mapping[Any, frozenset[Any]], start: StrEnum) -> str:
    lines = [f"    [*] --> {start}"]
    reached = {to for targets in table.values() for to in targets}
    lines += [f"    [*] --> {state}" for state in words if state not in reached and state is not start]
    lines += [f"    {state} --> {to}" for state in words for to in words if to in table[state]]
    lines += [f"    {state} --> [*]" for state in words if not table[state]]
    return "\n".join(lines)


def reasons() -> str:
    """Every reason with its sentence."""
    rows = ["| reason | means |", "| --- | --- |", *(f"| `{one}` | {_cell(one.sentence)} |" for one in Reason)]
    return "\n".join(rows) + "\n"


BLOCKS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "metrics": metrics,
    "layers": layers,
    "states": states,
    "reasons": reasons,
}


def rendered(text: str) -> str:
    """A document with every generated block as it should be. Errors: KeyError for a block that nobody makes."""
    return _BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match['name']]()}{match[4]}", text)


def names(text: str) -> list[str]:
    """The generated blocks of a document."""
    return [match["name"] for match in _BLOCK.finditer(text)]


CHART = ROOT / "charts/jobwarden"


def copies() -> dict[Path, str]:
    """What the chart holds of other folders, as a chart can read its own files only: path of the copy to text."""
    found = {CHART / "files/crds" / path.name: path for path in sorted((ROOT / "crds").glob("*.yaml"))}
    found[CHART / "files/admission.yaml"] = ROOT / "manifests/kubernetes/admission.yaml"
    return {copy: path.read_text() for copy, path in found.items() if path.exists()}


def stale_copies() -> list[Path]:
    """Copies that are missing, different or left over."""
    expected = copies()
    left = [path for path in (CHART / "files/crds").glob("*") if path not in expected]
    return [path for path, text in expected.items() if not path.exists() or path.read_text() != text] + left


def main() -> None:
    """Write the documents and the copies anew."""
    for path in stale_copies():
        path.unlink(missing_ok=True)
        if path in copies():
            path.write_text(copies()[path])
            sys.stdout.write(f"{path.relative_to(ROOT)} was refreshed\n")
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text()
        after = rendered(before)
        if after != before:
            path.write_text(after)
            sys.stdout.write(f"{name} was refreshed\n")


if __name__ == "__main__":
    main()
