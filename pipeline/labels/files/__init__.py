"""What lies in a label store: staged Parquet files and sidecars, lineage, the lock of a round, training curves."""
