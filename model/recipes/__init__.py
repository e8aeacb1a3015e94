"""What a network is trained for: which passes a step takes, and which losses."""
