"""Logs: text on a terminal, one JSON object a line elsewhere, each with its request's id."""

import contextvars
import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from server_ref.settings import Settings

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
"""Of the request that is being answered; empty outside of one."""

TEXT = "%(asctime)s %(levelname)s %(name)s%(mark)s: %(message)s"
FIELDS = ("asctime", "levelname", "name", "message", "request_id")


def start_logging(settings: Settings) -> None:
    """Log to stderr as the settings say."""
    handler = logging.StreamHandler()
    handler.addFilter(_mark)
    handler.setFormatter(_json() if _as_json(settings) else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


def _as_json(settings: Settings) -> bool:
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def _json() -> logging.Formatter:
    """Fields `time` (ISO 8601), `level`, `logger`, `message`, `request_id` and `exc_info`."""
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    return JsonFormatter(FIELDS, rename_fields=names, datefmt="%Y-%m-%dT%H:%M:%S%z")


def _mark(record: logging.LogRecord) -> bool:
    found = request_id.get()
    record.request_id = found or None
    record.mark = f" [{found}]" if found else ""
    return True
