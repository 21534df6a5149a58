"""What the end of a run causes: rules without I/O.

`decide` is the table of ends of design 03; `outcome` classifies how a process ended, `watch` reads a watchdog's check, `chain` finds the children
that are due, `parameters` resolves inputs, `tell` makes notifications. The store carries a `Finalisation` out in one commit.
"""
