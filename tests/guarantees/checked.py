"""What the server that victims are forked from does once, so that none of them does it again.

The signatures of DuckDB's extensions are checked once a process, which takes a quarter of a second. Nothing
of DuckDB lives on in the server: a process must not be forked while it has other threads.
"""

from dispatchlake.lake.extensions import connect

connect({}).close()
