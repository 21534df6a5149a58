"""The gates of trust, in their order (design 04): pure functions from facts to outcomes, each failing closed."""
