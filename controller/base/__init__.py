"""What every layer may use: clock, ids, errors, canonical JSON, logs, metrics, task supervision, CEL. Knows nothing of jobs."""
