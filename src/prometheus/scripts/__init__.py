"""One thin module per command: parse, call one method of `prometheus.app`, print, return an exit code."""
