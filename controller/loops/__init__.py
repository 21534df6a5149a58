"""When things run: named loops that the supervisor keeps alive. No rules here: each asks a stage to do what is due, then sleeps."""
