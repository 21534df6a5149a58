"""Telling people and programs what happened: apprise services and signed webhooks.

`Sender` (send.py) delivers one outbox item to one target; the loop over the outbox decides when. Secrets are resolved when a message is
sent, live in memory for that long, and are masked in everything that is said meanwhile.
"""
