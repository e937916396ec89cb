"""`dispatchlake check`: log in, read one page, probe paging and filters, say what to fix."""
