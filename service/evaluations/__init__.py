"""Evaluation sets: named lists of queries whose right moments are known, and runs of them."""

from service.catalog.evaluation_queries import latest_texts
from service.evaluations.questions import Question, RightMoment, questions_of
from service.evaluations.reading import FileFormat, read_entries
from service.evaluations.runs import request_run
from service.evaluations.sets import Entry, create_set

__all__ = [
    "Entry",
    "FileFormat",
    "Question",
    "RightMoment",
    "create_set",
    "latest_texts",
    "questions_of",
    "read_entries",
    "request_run",
]
