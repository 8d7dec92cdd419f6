"""The log: one JSON object a line, of times, sizes and codes; no content, no keys."""

import json
import logging
import sys
from datetime import UTC, datetime


class JSONLines(logging.Formatter):
    """Writes what a record holds as ``told``, and never its arguments or its error."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": when.replace("+00:00", "Z"), "event": record.getMessage()}
        return json.dumps(head | getattr(record, "told", {}))


def log_to_stdout() -> None:
    """Send what the proxy tells to standard output, and nothing that libraries say anywhere."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONLines())
    own = logging.getLogger("cropvlm_core.proxy")
    own.setLevel(logging.INFO)
    own.addHandler(handler)
    own.propagate = False
    for name in ("cropvlm_core.turns", "uvicorn", "httpx", "httpcore", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # their words may quote a request
