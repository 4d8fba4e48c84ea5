"""Many dates and instruments at once: plans that are pure, and the runs that carry them out."""

from prometheus.backfill.numeric import NumericBackfill
from prometheus.backfill.plan import BackfillReport, DateSpan, NumericRequest
from prometheus.backfill.regime import RegimeBackfill, RegimeReport

__all__ = ["BackfillReport", "DateSpan", "NumericBackfill", "NumericRequest", "RegimeBackfill", "RegimeReport"]
