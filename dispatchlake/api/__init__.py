"""Credentials in, pages out: everything that speaks to the vendor over the network."""

from dispatchlake.api.client import CenterClient, Fetched, Patience

__all__ = ["CenterClient", "Fetched", "Patience"]
