"""The tests. The tree mirrors the package; `harness` drives the real command as a process."""
