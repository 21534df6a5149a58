"""The benchmarks behind `make bench`: every figure beside a limit, and where there is one a rival, of the same rounds.

`harness` knows rounds and scores and nothing of jobs; `benchmarks/` has one module for each workload; `limits/` and `rivals/` are
scripts that run in processes of their own; `product` drives the `jobwarden` command. Invariant: nothing here asserts a time.
"""
