"""Labels from and for others: Parquet exports, HSMR's tars and npz files."""
