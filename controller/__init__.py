"""jobwarden: a declarative GitOps job controller."""
