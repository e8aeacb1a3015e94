"""Webhooks: others are told what happens here, signed as Standard Webhooks describes it."""
