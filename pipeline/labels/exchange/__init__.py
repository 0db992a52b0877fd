"""Labels from and for others: Parquet exports, HSMR's tars, npz files and refined labels."""
