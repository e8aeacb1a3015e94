"""Search: from a sentence to the moments that match it, best first.

`answering.search` is the story; the parts it names are beside it.
"""

from service.search.answering import search
from service.search.clips import ClipStore
from service.search.moments import Moment
from service.search.request import Answer, Receipt, SearchRequest

__all__ = ["Answer", "ClipStore", "Moment", "Receipt", "SearchRequest", "search"]
