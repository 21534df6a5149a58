"""Medians and tails of a list of figures."""

from collections.abc import Sequence


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of the values lie, taken from the values themselves. Errors: IndexError without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """`<name>_p50`, `<name>_p99` and `<name>_max`."""
    return {
        f"{name}_p50": quantile(values, 0.5),
        f"{name}_p99": quantile(values, 0.99),
        f"{name}_max": max(values),
    }
