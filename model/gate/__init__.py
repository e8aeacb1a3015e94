"""Whether a candidate is better than the model that is searched: the comparison before a switch."""
