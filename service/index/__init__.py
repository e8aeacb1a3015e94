"""Vector indexes and the replica that follows the change log."""
