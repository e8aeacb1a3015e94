"""What goes wrong when we speak to others."""

from service.errors import InvalidInputError


class OutboundError(InvalidInputError):
    """An address that we do not or could not speak to, or an answer that is of no use.

    Args:
        reason: machine-readable code, as `address_not_allowed`.
        detail: a sentence for a person.
        is_final: trying again would end the same.
        retry_after_s: when the other side wants to be asked again, if it said so.
    """

    reason = "outbound_failed"

    def __init__(
        self, reason: str, detail: str, *, is_final: bool = False, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail, reason=reason, retry_after_s=retry_after_s)
        self.is_final = is_final
