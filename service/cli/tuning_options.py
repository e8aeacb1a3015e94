"""Options of `train` and of `tune`, which ask for the same things."""

from typing import Annotated, Literal

import typer

from service.pairs import HoldOut, PairSource

ModelOption = Annotated[
    str | None,
    typer.Option("--from", metavar="MODEL", help="Start from it; from what is searched if unset."),
]
BundleOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="NAME_OR_FOLDER", help="Start from it; from what is searched if unset."
    ),
]
RecipeOption = Annotated[
    Literal["native", "clover"] | None, typer.Option(help="What is learned; native if unset.")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="By the pairs if unset.")]
BatchOption = Annotated[int | None, typer.Option(min=2, help="Pairs a step, in all.")]
MicroBatchOption = Annotated[
    int | None, typer.Option(min=1, help="Pairs that fit at a time; same result, less memory.")
]
RecomputeOption = Annotated[
    bool, typer.Option("--recompute", help="Run blocks twice: slower, far less memory.")
]
LearningRateOption = Annotated[float | None, typer.Option(min=0.0, help="After warm-up.")]
TextLearningRateOption = Annotated[
    float | None, typer.Option(min=0.0, help="Of the words' table and the text layers.")
]
FrozenOption = Annotated[
    list[str] | None,
    typer.Option(
        help="What does not learn: video, text, or how names of weights begin. Repeatable."
    ),
]
WordDropoutOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Largest share of words that a text may lose; none if unset."
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Draws all that is random.")]
ShareOption = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share that is kept to measure on.")
]
HoldOutOption = Annotated[HoldOut, typer.Option(help="What is kept.")]
SourcesOption = Annotated[
    list[PairSource] | None, typer.Option("--source", help="Only such pairs. Repeatable.")
]
