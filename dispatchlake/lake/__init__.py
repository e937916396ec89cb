"""Records in, DuckLake out: everything that touches DuckDB, Arrow and Parquet."""
