"""What became of every key of a file that was imported."""

from dataclasses import dataclass, field
from typing import Any

SHOWN = 12
"""Keys of one kind that a person is shown; JSON has them all."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an import found and did.

    Attributes:
        recognised: what the file was taken for, in words.
        used: keys that were taken as they are.
        renamed: keys that were taken under another name, and that name.
        ignored: keys that were left out, and why.
        made: keys that the file lacks and that were filled in, and with what.
        notes: what a person should know, in sentences.
    """

    recognised: str
    used: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all of it for programs and for the card of the bundle."""
        return {
            "recognised": self.recognised,
            "used": sorted(self.used),
            "renamed": dict(sorted(self.renamed.items())),
            "ignored": dict(sorted(self.ignored.items())),
            "made": dict(sorted(self.made.items())),
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """Return it for a person, several lines."""
        lines = [f"Recognised as {self.recognised}.", f"Used: {len(self.used)} keys as they are."]
        for title, pairs, arrow in (
            ("Renamed", self.renamed, "->"),
            ("Ignored", self.ignored, "-"),
            ("Filled in", self.made, "-"),
        ):
            lines += _list(title, pairs, arrow)
        return "\n".join([*lines, *self.notes])


def _list(title: str, pairs: dict[str, str], arrow: str) -> list[str]:
    if not pairs:
        return []
    lines = [f"{title}: {len(pairs)} keys."]
    lines += [f"  {key} {arrow} {told}" for key, told in sorted(pairs.items())[:SHOWN]]
    if len(pairs) > SHOWN:
        lines.append(f"  and {len(pairs) - SHOWN} more")
    return lines
