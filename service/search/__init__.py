"""Search: from a sentence to the moments that match it, best first.

`answering.search` is the story; `explaining.explain` tells it of one video. The parts that they
name are beside them.
"""

from service.search.answering import search
from service.search.clips import ClipStore
from service.search.explaining import Explanation, explain
from service.search.moments import Moment
from service.search.request import Answer, Receipt, SearchRequest

__all__ = [
    "Answer",
    "ClipStore",
    "Explanation",
    "Moment",
    "Receipt",
    "SearchRequest",
    "explain",
    "search",
]
