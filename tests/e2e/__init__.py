"""Faults, made for real against the real command: what must hold whatever happens to the controller, its database, its files and its clock."""
