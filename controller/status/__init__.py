"""What resources look like from outside: conditions and status projected from rows, the views that verbs ask for, and status files."""
