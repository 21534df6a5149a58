"""The reference's numbered cases as tests, through the public surface only: manifests in, command line out."""
