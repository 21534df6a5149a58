"""Limit of B10: jsonschema-rs alone, over documents that are already parsed.

`validate.py SCHEMA DOCUMENTS` (two JSON files) prints how many documents a second it can say yes or no to: no words for the
mistakes, no rules across fields or documents.
"""

import json
import sys
import time
from pathlib import Path

import jsonschema_rs

LONG_ENOUGH_S = 1.0
"""One pass takes hundredths of a second: too short to tell a quiet machine from a busy one."""


def main(schema: Path, documents: Path) -> None:
    """Print the rate as JSON, and how many documents were refused."""
    validator = jsonschema_rs.validator_for(json.loads(schema.read_text()))
    parsed = json.loads(documents.read_text())
    passes = refused = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + LONG_ENOUGH_S:
        refused = sum(1 for document in parsed if not validator.is_valid(document))
        passes += 1
    print(json.dumps({"value": passes * len(parsed) / (time.perf_counter() - begun), "refused": refused}))


main(Path(sys.argv[1]), Path(sys.argv[2]))
