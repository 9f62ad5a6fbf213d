"""Requests that are not HTTP: aiohttp answers them, and we say so in one line.

What strangers send is no crash of ours, so it gets no traceback: a port scanner would
fill the log with them.
"""

import logging
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger

log = structlog.get_logger(__name__)


class _OneLine(logging.Filter):
    """Takes what clients did wrong out of aiohttp's log, and puts a line into ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info[1] if record.exc_info else None
        if not isinstance(exc, HttpProcessingError | web.RequestPayloadError):
            return True
        log.info("http.broken", reason=" ".join(str(exc).split())[:200])
        return False


_FILTER: Final = _OneLine()


def watch_broken_requests() -> None:
    """Begin; doing it again changes nothing."""
    server_logger.addFilter(_FILTER)
