"""Emergency-dispatch records: from the Prepared partner API to Parquet and SQL, without loss."""

__version__ = "0.1.0"
