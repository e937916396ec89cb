"""Thin Prefect wrappers around the library: blocks, tasks, retry policy, artifacts."""
