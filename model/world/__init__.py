"""The procedural world: endless captioned videos from a seed."""
