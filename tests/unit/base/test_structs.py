"""Decoding is safe for threads from its first use on."""

import ast
import subprocess
import sys
from pathlib import Path

import controller

_RACE = """
import sys, threading
from controller.notifications import targets
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def one():
    together.wait()
    targets.permits(b'{"webhook": {"urlFrom": {"env": "X"}}, "allowedNamespaces": ["a"]}', "a")
threads = [threading.Thread(target=one) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_threads_that_decode_at_once_for_the_first_time_do_not_end_the_process() -> None:
    """In fresh processes, as the first use comes once in a life; unprepared, two of three died."""
    for _ in range(4):
        assert subprocess.run([sys.executable, "-c", _RACE], check=False).returncode == 0


def test_nothing_is_decoded_into_a_type_that_was_not_described_at_import() -> None:
    """`decode(…, type=…)` describes at first use, and `convert` knows only types that are `described`, or read before there are threads."""
    described = {"Configuration"}
    into: list[tuple[str, ast.Call]] = []
    for path in Path(controller.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("described" in ast.unparse(one) for one in node.decorator_list):
                described.add(node.name)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("msgspec."):
                into.append((path.name, node))
    assert not [name for name, call in into if any(keyword.arg == "type" for keyword in call.keywords)]
    converted = {
        ast.unparse(call.args[1]).rpartition(".")[2]
        for _, call in into
        if ast.unparse(call.func) == "msgspec.convert" and len(call.args) > 1
    }
    assert converted - {"kind", "shape"} <= described
