"""What English words mean, for captions and queries in words that training never saw."""
