"""One thin module per command: parse, call one method of `prometheus.app`, print, return an exit code."""

import gc

# A command is born importing modules, all of which stay: looking through them for garbage is a tenth of its start.
gc.set_threshold(50_000)
