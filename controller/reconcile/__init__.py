"""Desired to actual: what documents mean together, what has to change, and the one transaction that changes it.

`pipeline.Reconciler` walks one source through fetch, parse, plan and apply; `desired.Desired` is what all sources together declare.
"""
