"""`python -m tests.performance`: run the benchmarks, print the table, store every figure as JSON. `make bench` calls it.

Ends with 1 when a benchmark could not do its work; a gate that is missed is printed, never an error: times are not asserted.
"""

import argparse
import os
import re
import signal
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from tests.performance import report
from tests.performance.bench_venv import BenchVenv
from tests.performance.benchmarks import BENCHMARKS
from tests.performance.harness import Case, NotAvailable, Outcome, run
from tests.performance.limit_report import limit_cases
from tests.performance.postgres import Postgres
from tests.performance.progress import Progress
from tests.performance.suite import Suite
from tests.performance.workspace import CACHE, Workspace


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    # Being ended by TERM (a timeout, a service manager) must not leave servers and controllers behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Both sides find their modules compiled, as what was installed is, whatever the environment says.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    progress = Progress()
    surroundings = report.machine()
    outcomes: list[Outcome] = []
    path = asked.json or CACHE / "bench" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    with closing(Workspace()) as workspace, closing(Postgres(workspace)) as postgres:
        suite = Suite(workspace, postgres, BenchVenv(progress, wanted=not asked.no_rivals), progress, quick=asked.quick)
        needed, at_most = (3, 6) if asked.quick else (5, 10)
        try:
            for case in _cases(suite, asked):
                progress.say(f"{case.id} {case.variant}")
                outcomes.append(run(case, asked.rounds or needed, asked.rounds or at_most, progress))
                report.save(outcomes, surroundings, path)
        except KeyboardInterrupt:
            progress.say("interrupted; what has been measured follows")
    print(report.text(outcomes))
    progress.say(f"every figure of every round: {path}")
    if asked.markdown:
        asked.markdown.write_text(report.markdown(outcomes), encoding="utf-8")
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _cases(suite: Suite, asked: argparse.Namespace) -> list[Case]:
    chosen = asked.only or list(BENCHMARKS)
    cases = limit_cases(suite) if asked.limits else (case for one in chosen for case in BENCHMARKS[one](suite))
    return [case for case in cases if re.search(asked.variant, case.variant)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes: minutes instead of an hour")
    parser.add_argument("--only", type=_ids, metavar="B1,B2", help="only these benchmarks")
    parser.add_argument("--variant", default="", metavar="REGEX", help="only variants that match")
    parser.add_argument(
        "--limits", action="store_true", help="only the limits and rivals of this machine, without jobwarden"
    )
    parser.add_argument("--no-rivals", action="store_true", help="leave the rivals out (nothing is installed)")
    parser.add_argument("--rounds", type=int, help="run exactly this many rounds; noisy ones still do not count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every figure goes (default: .cache/bench/)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table as Markdown")
    return parser.parse_args()


def _ids(text: str) -> list[str]:
    chosen = [one.strip().upper() for one in text.split(",") if one.strip()]
    unknown = [one for one in chosen if one not in BENCHMARKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is not one of {', '.join(BENCHMARKS)}")
    return chosen


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotAvailable as missing:
        sys.exit(f"benchmarks cannot run here: {missing}")
