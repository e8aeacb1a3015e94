"""Tuning runs: the job, the process that trains and compares, and the folder between them."""
