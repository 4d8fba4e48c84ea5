"""The same answers for language models, over the Model Context Protocol: read-only tools, each as of a date."""
