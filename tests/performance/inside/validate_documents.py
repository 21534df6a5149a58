"""B10, our side: what `parse_file` does with a document once it is parsed.

`validate_documents.py DOCUMENTS` (a JSON file) judges each document by admission, schema and rules, as `controller.kinds.parse` does, and prints how many a
second, and how many were refused; a refusal comes with its findings.
"""

import json
import sys
import time
from pathlib import Path

from controller.kinds import admission, rules, verdict
from controller.kinds.catalog import schema_file


def refused(document: dict[str, object]) -> bool:
    kind, findings = admission.admit(document, None)
    if kind is None:
        return True
    judged = verdict.judge(kind.name, schema_file(kind.name), document)
    return bool(findings or judged.findings or rules.check(kind.name, judged.document))


def main(path: Path) -> None:
    """Print the rate as JSON."""
    documents = json.loads(path.read_text(encoding="utf-8"))
    for document in documents[:10]:
        refused(document)  # the validators, of good documents and of bad ones, are built once in a controller's life
    begun = time.perf_counter()
    bad = sum(1 for document in documents if refused(document))
    print(json.dumps({"value": len(documents) / (time.perf_counter() - begun), "refused": bad}))


main(Path(sys.argv[1]))
