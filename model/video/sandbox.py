"""What the sandbox of the decoding child is worth on this machine."""

from dataclasses import asdict, dataclass
from pathlib import Path

from model.video.child_process import DecodeChild
from model.video.limits import DecodeLimits
from model.video.messages import Kind, nonsense

LIMITS = DecodeLimits(cpu_s=30, wall_s=30)
MISSING = {
    "has_no_network": "The decoder shares this machine's network namespace; allow user "
    "namespaces (kernel.unprivileged_userns_clone=1, or the container's seccomp profile).",
    "has_filter": "The decoder's system calls are not filtered; use Linux 4.14 or newer on "
    "x86_64 or aarch64, with CONFIG_SECCOMP_FILTER.",
    "has_landlock": "The decoder is not confined by Landlock; use Linux 5.13 or newer with "
    "`landlock` in its list of security modules (lsm=).",
    "has_no_rights": "The decoder keeps the rights of its user; do not run as root.",
}
"""Layer -> what its absence means, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Which layers of the sandbox hold, found by starting a real child.

    Limits on memory, time, descriptors and files hold on every Linux.

    Attributes:
        has_no_network: the child has a network namespace of its own, with nothing in it.
        has_filter: its system calls are filtered (seccomp).
        landlock_abi: version of Landlock that confines it, 0 for none.
        has_no_rights: it gave up all capabilities.
    """

    has_no_network: bool
    has_filter: bool
    landlock_abi: int
    has_no_rights: bool

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What does not hold here: a sentence each, with what to do about it."""
        holds = {**asdict(self), "has_landlock": self.landlock_abi > 0}
        return tuple(sentence for layer, sentence in MISSING.items() if not holds[layer])


def capabilities() -> Capabilities:
    """Start a decoding child that locks itself up, and return what it achieved.

    Raises:
        VideoError: the child can't be started, or did not end well.
    """
    request = {"task": "sandbox", "limits": asdict(LIMITS)}
    with DecodeChild(Path(__file__), request, limits=LIMITS) as child:
        found = [message.json() for message in child.messages() if message.kind is Kind.FACTS]
    try:
        (facts,) = found
        return Capabilities(
            has_no_network=facts["has_no_network"] is True,
            has_filter=facts["has_filter"] is True,
            landlock_abi=int(facts["landlock_abi"]),
            has_no_rights=facts["has_no_rights"] is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise nonsense() from error
