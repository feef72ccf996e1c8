"""Who may use the service: API keys, known only by their hashes."""

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any

from alphacut.errors import OutputError
from alphacut.server.refusal import Refusal

ANYONE = "anyone"


class Keys:
    """The API keys that are accepted.

    Args:
        path: A file with a SHA-256 in hexadecimal and a name on each line, as `sha256sum` prints;
            lines that begin with # are skipped. None admits anyone.

    Raises:
        OutputError: if the file cannot be read, or a line is malformed.
    """

    def __init__(self, path: Path | None) -> None:
        self._names: dict[bytes, str] = {}
        self.required = path is not None
        if path is None:
            return
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"{path}: cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = re.fullmatch(r"([0-9a-fA-F]{64})\s+(\S.*)", line.strip())
            if not found:
                raise OutputError(
                    f"{path}, line {number}: write the key's SHA-256 in hexadecimal, then a name"
                )
            self._names[bytes.fromhex(found[1])] = found[2]

    def name_of(self, headers: Any) -> str:
        """Return the name that belongs to a request's key.

        Raises:
            Refusal: 403 if there is no key, or an unknown one.
        """
        if not self.required:
            return ANYONE
        bearer = re.fullmatch(r"(?i:bearer) +(\S+)", headers.get("authorization", ""))
        key = headers.get("x-api-key") or (bearer[1] if bearer else "")
        if not key:
            raise Refusal(403, "auth_failed", "Missing API Key")
        digest = hashlib.sha256(key.encode("latin-1")).digest()  # the bytes that were sent
        found = None
        for known, name in self._names.items():  # all of them: the time taken reveals nothing
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise Refusal(403, "auth_failed", "API Key invalid")
        return found
