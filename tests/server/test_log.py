import json
import logging

from alphacut.server.log import LogFormatter


def test_text_logs_cannot_be_forged() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "request", None, None)
    record.facts = {"path": "/a\nfake line", "ms": 3}
    line = LogFormatter("text").format(record)
    assert "\n" not in line
    assert "ms=3" in line
    assert json.loads(LogFormatter("json").format(record))["path"] == "/a\nfake line"
