"""What is put on record about a run, so that somebody who trusts neither this program nor its database can check it later.

statement, checkpoint   what is said: in-toto statements in canonical JSON
chain                   each statement names the digest of the one before it
dsse, keys              envelopes and their signatures
bundle, verify          all of it read back and checked, without a database
"""
