"""Celery workers: they turn jobs into embeddings."""
