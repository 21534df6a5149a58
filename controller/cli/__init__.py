"""The `jobwarden` command: options in, text or JSON out. Verbs are loaded when they are named, because most of them are slow to import."""
