"""The one way in which the service says no; each contract words it in its own format."""

from typing import Any


class Refusal(Exception):
    """A request that is not served.

    Args:
        status: HTTP status.
        code: For programs, such as "file_too_large".
        title: For people.
        detail: What is wrong with this request, and what to do.
        field: The field that is at fault, in rembg's contract.
        retry_after_s: When it is worth trying again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        field: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail or title}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it, in every contract."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def in_both_contracts(code: str, title: str) -> dict[str, Any]:
    """Word a refusal made before it is known whose contract is meant."""
    return {"errors": [{"title": title, "code": code}], "detail": title}


def image_fault(reason: str | None, max_megapixels: float) -> str:
    """Say what is wrong with an image.

    Args:
        reason: See `ImageError.reason`.
        max_megapixels: The service's limit.

    Returns:
        A sentence.
    """
    if reason == "too_large":
        return f"The image has more than {max_megapixels:g} megapixels."
    return {
        "not_a_picture": "The file is not an image, or its format is not supported.",
        "no_size": "The image's header is damaged: dimensions unreadable.",
        "background": "The background image cannot be read.",
    }.get(reason or "", "The image is damaged or truncated.")
