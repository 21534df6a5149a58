"""When jobs are due: cron grammar, next instants, time zones, catch-up, jitter. Pure rules; the only place that knows local time."""
