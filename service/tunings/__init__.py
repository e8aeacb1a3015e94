"""Tuning: ask for a run, look what one would take, cancel one."""
