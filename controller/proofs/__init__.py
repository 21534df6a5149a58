"""Whether a proof of authority is one: tokens, keys, certificates and claims. Pure; nothing here fetches, reads a clock or keeps a secret.

    text → tokens.read → verify.method_of → (whoever calls gets keys or secret) → verify.verify → Proven | Unproven

`loops.proving` brings what has to be fetched. Sources: RFC 7515 (JWS), 7517 (JWK), 7518 (JWA), 7519 (JWT), 8725 (best practice for JWT), 9864 (Ed25519).
"""
