"""Clover (arXiv 2207.07885): a video encoder, a text encoder, and an encoder that joins them."""
