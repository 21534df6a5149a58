"""The Kubernetes API as jobwarden uses it: how it is reached, the objects of our kinds, their status, and who leads."""
