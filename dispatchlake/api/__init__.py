"""Credentials in, pages out: everything that speaks to the vendor over the network."""
