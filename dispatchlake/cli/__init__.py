"""The `dispatchlake` command: what a person types, and nothing that a flow needs."""
