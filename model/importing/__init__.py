"""Bundles from what others trained: read as data, never run."""
