"""The log as JSON: one object a line, its fields those that the message says as `name=value`."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
FORMATS = ("text", "json")

_FIELD = re.compile(r"\b([a-z_]+)=(\S+)")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?")  # longer strings of digits are ids


class JSONFormatter(logging.Formatter):
    """Writes {"time", "level", "logger", "message", …fields}; what was raised goes to "exception"."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        message = record.getMessage()
        fields = {name: _value(value) for name, value in _FIELD.findall(message)}
        line = {
            **fields,
            **self._process,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str, style: str, process: str = "") -> None:
    """Send the log to stderr from `level` on, as one of `FORMATS`; `process` says which of several it is."""
    handler = logging.StreamHandler()
    text = f"%(asctime)s %(levelname)s {process} %(name)s %(message)s" if process else TEXT
    handler.setFormatter(JSONFormatter(process) if style == "json" else logging.Formatter(text))
    logging.basicConfig(level=level, handlers=[handler])


def _value(text: str) -> int | float | str:
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)
