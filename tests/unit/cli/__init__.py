"""The command line without a controller or a database."""
