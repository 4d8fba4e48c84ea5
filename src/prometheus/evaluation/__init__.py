"""What stored embeddings are worth, measured point in time."""
