"""Why a video was refused."""


class VideoError(Exception):
    """The file can't be used as a video.

    Attributes:
        reason: machine-readable code, lower_snake_case, as `not_a_video`.
        detail: one sentence for a person: what was found and what to do.
        may_pass: it may be the machine's fault, as when it is overloaded: worth another try.
    """

    def __init__(self, reason: str, detail: str, *, may_pass: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.may_pass = may_pass
