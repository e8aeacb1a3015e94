"""Backups: the database first, then every file that it names; and the way back."""

from service.backup.making import Made, make_backup
from service.backup.restoring import Restored, check_backup, restore

__all__ = ["Made", "Restored", "check_backup", "make_backup", "restore"]
