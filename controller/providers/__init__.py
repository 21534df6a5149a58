"""Where credentials come from: the Protocol of providers, those that are built in, and the calls to all of them, bounded and judged."""
