"""The audit log: who asked for what, when. Rows are only ever added."""

from datetime import datetime

from sqlalchemy import insert

from controller.store.schema import audit
from controller.store.store import Tx


def record(tx: Tx, now: datetime, actor: str, verb: str, namespace: str, subject: str, detail: str = "") -> None:
    """Add one entry."""
    tx.execute(
        insert(audit).values(at=now, actor=actor, verb=verb, namespace=namespace, subject=subject, detail=detail[:1024])
    )
