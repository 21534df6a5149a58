"""The command as a process, the control server, and a database that is filled by plain inserts."""
