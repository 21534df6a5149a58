"""Where documents come from: folders and Git repositories, each giving whole snapshots. Knows files, not what they mean."""
