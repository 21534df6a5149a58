"""Whether a dispatch may open its run now: rules without I/O.

`facts` is what the store gathers for one dispatch, `verdicts` what a rule may answer, `chain` the rules in their order. Guards never await,
never read the clock and never write: the unique indexes and counters of the store are the guarantee, a guard is the explanation.
"""
