"""The one way in which the service says no; each contract words it in its own body."""


class Refusal(Exception):
    """A request that is not served.

    Args:
        status: HTTP status.
        code: What a program reads, such as "file_too_large".
        title: What a person reads.
        detail: What is wrong with this request, and what to do.
        retry_after_s: When it is worth trying again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail or title}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it, in every contract."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
