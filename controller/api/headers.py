"""Names of the headers that a controller and its command speak in beside HTTP's own."""

TOKEN = "X-Jobwarden-Token"  # noqa: S105 - its name
"""What whoever comes through an API server has to know."""
NOTE = "X-Jobwarden-Note"
"""What a person should know of a log beside what is in it."""
RUN = "X-Jobwarden-Run"
"""The run whose log it is."""
