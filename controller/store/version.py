"""The version of the schema that this program needs: the newest revision in `migrations/`. A module of its own, for those who import nothing else."""

HEAD = "0001"
