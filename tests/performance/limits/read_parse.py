"""Limit of B8: read every manifest, hash it, parse it with PyYAML's C loader; nothing is checked, nothing is stored.

`read_parse.py FOLDER` prints the seconds. The C loader is the parser that jobwarden uses, so this is the part of a cold start
that no better controller around the same parser could avoid.
"""
# ruff: noqa: PTH118, PTH123 - the answer goes to standard output; pathlib would take twice as long to read

import hashlib
import json
import os
import sys
import time

import yaml


def main(folder: str) -> None:
    """Print the seconds for the whole folder as JSON, and how many documents there were."""
    begun = time.perf_counter()
    documents = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb") as file:
                content = file.read()
            hashlib.sha256(content).hexdigest()
            documents += sum(1 for document in yaml.load_all(content, Loader=yaml.CSafeLoader) if document)
    print(json.dumps({"value": time.perf_counter() - begun, "documents": documents}))


main(sys.argv[1])
