"""The former home of `prometheus.analogs.report`."""

from prometheus.analogs.report import SPACES, TEXT_SOURCES, Analog, AnalogReport, AnalogRequest, Space, TextSource

__all__ = ["SPACES", "TEXT_SOURCES", "Analog", "AnalogReport", "AnalogRequest", "Space", "TextSource"]
