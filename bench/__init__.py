"""How fast, how small and how steady the product is, beside other ways to do the same: `make bench`."""
