"""The package's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from prometheus.core.logs import configure_logging


@pytest.fixture(autouse=True)
def restored_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("prometheus")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers.clear()
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before


def test_lines_go_to_standard_error_once_however_often_it_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    logging.getLogger("prometheus.app").info("three of four done")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("INFO three of four done") == 1


def test_debug_lines_appear_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("prometheus.app").debug("quiet")
    configure_logging(verbose=True)
    logging.getLogger("prometheus.app").debug("loud")
    assert "quiet" not in (shown := capsys.readouterr().err)
    assert "DEBUG loud" in shown
