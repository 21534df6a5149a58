"""What a user may write: models, generated schemas and CRDs, the YAML reader, the verdict on one document, its digests. Knows documents, not jobs."""
