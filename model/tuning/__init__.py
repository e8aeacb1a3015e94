"""Tune a bundle on one's own videos: what may be chosen, the data, the loop, the new bundle."""
