"""Records and their state tables. No I/O, no SQLAlchemy, no pydantic: frozen structs that every stage exchanges."""
