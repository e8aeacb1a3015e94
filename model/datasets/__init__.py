"""Readers of the datasets that papers report, in the layouts that they are handed round in."""
