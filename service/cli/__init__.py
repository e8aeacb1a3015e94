"""The `reelseek` command. Each module holds the commands of one subject."""

from service.cli.app import main

__all__ = ["main"]
