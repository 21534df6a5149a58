"""What the controller serves: metrics and probes over HTTP, and the control socket of the command line."""
