"""Probe, sample and decode footage: the same for training and serving."""
