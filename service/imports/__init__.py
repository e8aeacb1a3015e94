"""Imports: videos are fetched by their address, from a folder of this machine, or a bucket."""
