"""Everything that this service fetches from others, or tells them, goes through `Outbound`."""

from service.outbound.client import Answer, Limits, Outbound
from service.outbound.errors import OutboundError
from service.outbound.policy import Policy, Target, parse_url

__all__ = ["Answer", "Limits", "Outbound", "OutboundError", "Policy", "Target", "parse_url"]
