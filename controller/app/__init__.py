"""Builds the controller from its options: the one place that knows every part."""
