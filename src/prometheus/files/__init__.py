"""Files of rows: CSV, JSON lines and Parquet, their columns, cells and rejects."""
