"""Trading calendars under the name callers have used from the start; see `prometheus.market.calendar`."""

from prometheus.market.calendar import (
    MARKET_CALENDARS,
    US_EQ,
    TradingCalendar,
    TradingCalendarConfig,
    calendar_code,
    get_next_trading_day,
    get_prev_trading_day,
    is_trading_day,
    trading_days_between,
)

__all__ = [
    "MARKET_CALENDARS",
    "US_EQ",
    "TradingCalendar",
    "TradingCalendarConfig",
    "calendar_code",
    "get_next_trading_day",
    "get_prev_trading_day",
    "is_trading_day",
    "trading_days_between",
]
