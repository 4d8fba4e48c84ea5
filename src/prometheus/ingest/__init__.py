"""Files into the databases: read, checked row by row, stored all or nothing."""
