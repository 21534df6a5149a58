"""Proofs of authority: tokens, keys, certificates, claims."""
