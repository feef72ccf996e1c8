"""The service's log, as lines for people or as JSON for programs."""

import json
import logging
import sys


def start_logging(kind: str) -> None:
    """Send log lines to standard error.

    Args:
        kind: "text" or "json".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(kind))
    for name in ("alphacut.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name.startswith("alphacut") else logging.WARNING)


class LogFormatter(logging.Formatter):
    """Formats a record as one line; a traceback follows where there is one.

    Args:
        kind: "text" or "json".
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = getattr(record, "facts", {})
        when = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self.kind == "json":
            line = {"time": when, "level": record.levelname.lower(), "logger": record.name,
                    "message": record.getMessage(), **facts}  # fmt: skip
            return json.dumps(line | ({"trace": trace} if trace else {}))
        # nothing that a client sends can begin a line of its own
        words = " ".join(f"{name}={str(value)!r:.120}" if isinstance(value, str)
                         else f"{name}={value}" for name, value in facts.items())  # fmt: skip
        text = f"{when} {record.levelname.lower()} {record.getMessage()} {words}".rstrip()
        return f"{text}\n{trace}" if trace else text
