"""The runtime database: the only folder that imports SQLAlchemy. Records in, records out.

`Store` (store.py) opens the database and runs functions in transactions; the other modules are named statements on such a transaction, one
module per aggregate. A stage composes them: `await store.write(lambda tx: runs.open(tx, …))`.
"""
