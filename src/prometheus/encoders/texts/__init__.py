"""Texts, and the encoders that make vectors of them."""

import os

# Read when ONNX Runtime and the Hugging Face hub are imported, which is after this: they report to no one.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
