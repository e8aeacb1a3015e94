"""What of an index is shown to people and to Prometheus."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class IndexFigures:
    """What answers searches.

    Attributes:
        kind: as the setting names it, or `milvus`.
        num_segments: that can be found; None while Milvus does not answer.
        recall: share of the exact answer that is found, as measured on this gallery; 1 where
            everything is scanned, None where it is not known.
        effort: nodes of the graph, or cells, that a search looks at; None where it scans.
        num_texts: texts that recall was measured with; the other queries were embeddings of
            segments.
        num_added: segments that came since the base was built, scanned beside it.
        num_dead: segments of the base that are gone.
    """

    kind: str
    num_segments: int | None
    recall: float | None
    effort: int | None = None
    num_texts: int = 0
    num_added: int = 0
    num_dead: int = 0
