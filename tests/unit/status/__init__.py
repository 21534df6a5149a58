"""Projection, views' shapes, selectors and status files, without a database."""
