"""The bundled checkpoint in values: its sizes, its data, and how it is trained, stage by stage."""

from dataclasses import dataclass, replace

from model.all_in_one.dims import Dims
from model.plan import Plan
from model.preprocessing import Preprocessing
from model.recipes.world_objectives import WorldObjectives
from model.world.batches import WorldBatches
from model.world.labels import WEIGHTS
from model.world.stills import MixedBatches, StillBatches
from model.world.vocabulary import make_tokenizer

SEED = 1
TOKENIZER = make_tokenizer(40)
COARSE = Dims(
    width=128,
    depth=4,
    heads=4,
    patch=16,
    frame_size=64,
    frames=4,
    max_text_tokens=40,
    vocabulary=TOKENIZER.get_vocab_size(),
    projection=128,
    roll_share=4,
    roll_order="spread",
)
DIMS = replace(COARSE, patch=8)
"""Coarse patches learn motion in a quarter of the time; kinds of things need finer ones."""
PREPROCESSING = Preprocessing(
    resize_short=64, frame_size=64, frames_per_clip=4, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)
WORLD = WorldBatches(
    seed=SEED,
    frame_size=COARSE.frame_size,
    frames_per_clip=COARSE.frames,
    simple_until=500,
    full_from=1200,
    terse_from=5250,
)


STILLS = StillBatches(seed=SEED, frame_size=COARSE.frame_size)
NAMED = replace(STILLS, stills=256, asked=0, share_simple=0.3)
ASKED = replace(STILLS, stills=96, asked=96)
FINE_WEIGHTS = (1.0, 0.3, 1.0, 0.3, 0.8, 0.3, 0.2, 0.3, 0.15, 0.3, 0.8)
LAST_WEIGHTS = (1.0, 0.3, 0.8, 0.3, 1.5, 0.5, 0.2, 0.6, 0.15, 0.3, 1.2)


@dataclass(frozen=True)
class Stage:
    """Part of a run: how it is trained, and for what.

    Attributes:
        plan: how, up to which step.
        objectives: for what.
        dims: sizes of the network; where they change, it takes over what the one before learned,
            and the optimizer starts afresh.
        weights: of the facts that are named (`labels.COLUMNS`).
        stills: batches of stills.
        clips_every: every so many steps a batch is of clips, in between of stills.
    """

    plan: Plan
    objectives: WorldObjectives
    dims: Dims = COARSE
    weights: tuple[float, ...] = WEIGHTS
    stills: StillBatches = STILLS
    clips_every: int = 1

    @property
    def batches(self) -> MixedBatches:
        """The batches of its steps."""
        return MixedBatches(clips=WORLD, stills=self.stills, clips_every=self.clips_every)


MANY = WorldObjectives(rivals=16, masked_texts=4)
FINE = WorldObjectives(
    rivals=8, twin_share=0.15, group_share=0.7, checking_weight=2.0, masked_texts=4
)
STAGES = (
    # Motion first, the dual stream alone; then everything, with a fused pass that is asked mostly
    # about counterparts. It learns order, but not that other families are wrong:
    Stage(Plan(steps=2750, seed=SEED), WorldObjectives(fused_from=1200)),
    # The fused pass meets videos of other families too.
    Stage(
        Plan(steps=3500, warmup_steps=0, seed=SEED),
        replace(MANY, twin_share=0.3, group_share=0.6, contrast_every=4),
    ),
    # Order is learned; most of the time goes to the fused pass and to every other difference.
    Stage(
        Plan(steps=4250, warmup_steps=0, average=0.998, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=8),
    ),
    # That was slow: matching says that something is wrong, checking also says what.
    Stage(
        Plan(steps=6500, until=5250, warmup_steps=0, cooldown_steps=1500, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=8, checking_weight=2.0),
    ),
    # The dual stream had lost some of what it knew of short texts; both learn to the end.
    Stage(
        Plan(steps=7000, warmup_steps=0, cooldown_steps=1500, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=2, checking_weight=2.0),
    ),
    # Once more from a higher rate. The phrases that tell where a rise or fall begins ("up from the
    # bottom") came in here; what was trained before this plan had not met them.
    Stage(
        Plan(steps=8100, warmup_steps=0, learning_rate=1e-3, cooldown_steps=1100, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=2, checking_weight=2.0),
    ),
    # Kinds of things were hardly seen: patches a quarter as large take over. From here on a clip's
    # kinds are named with more weight. Before the next stage there were no wordings of viewers, no
    # families around a symmetric event, and no more counterparts in kind than in anything else.
    Stage(
        Plan(steps=8700, first=8100, learning_rate=1e-3, seed=SEED),
        replace(MANY, twin_share=0.15, group_share=0.5, contrast_every=2, checking_weight=2.0),
        dims=DIMS,
        weights=FINE_WEIGHTS,
    ),
    # The dual stream first: what it sees, the fused pass sees too. (The optimizer started afresh.)
    Stage(
        Plan(steps=9100, first=8700, learning_rate=1e-3, seed=SEED),
        FINE,
        dims=DIMS,
        weights=FINE_WEIGHTS,
    ),
    # After 300 of those steps it named 31 % of the kinds in clips rightly, after 300 of these, two
    # in three of which are of stills, 61 %. (Second kinds in stills counted half as much as now.)
    Stage(
        Plan(steps=9900, warmup_steps=0, learning_rate=1e-3, seed=SEED),
        FINE,
        dims=DIMS,
        weights=FINE_WEIGHTS,
        stills=NAMED,
        clips_every=3,
    ),
    Stage(
        Plan(steps=10100, warmup_steps=0, learning_rate=1e-3, seed=SEED),
        replace(FINE, rivals=12, group_share=0.6),
        dims=DIMS,
        weights=LAST_WEIGHTS,
        stills=NAMED,
        clips_every=2,
    ),
    # The dual stream tells kinds apart, the fused pass hardly does: it is asked about stills too.
    Stage(
        Plan(steps=10400, warmup_steps=0, learning_rate=1e-3, seed=SEED),
        replace(FINE, rivals=12, group_share=0.6),
        dims=DIMS,
        weights=LAST_WEIGHTS,
        clips_every=2,
    ),
    # To the end: more of the same. Before, counterparts in kind were five times as frequent as
    # those in texture, and there were fewer wordings for what becomes what.
    Stage(
        Plan(
            steps=11520,
            until=11200,
            warmup_steps=0,
            learning_rate=1e-3,
            cooldown_steps=1100,
            seed=SEED,
        ),
        replace(FINE, rivals=16, group_share=0.5, contrast_every=2),
        dims=DIMS,
        weights=LAST_WEIGHTS,
        stills=ASKED,
        clips_every=2,
    ),
    # Cooled down sooner than was meant: there was no more time.
    Stage(
        Plan(steps=11410, warmup_steps=0, learning_rate=3e-4, cooldown_steps=210, seed=SEED),
        replace(FINE, rivals=16, group_share=0.5, contrast_every=2),
        dims=DIMS,
        weights=LAST_WEIGHTS,
        stills=ASKED,
        clips_every=2,
    ),
)
DURATION = "about 85 minutes on two shared cores, then less than two hours on one of them"
SIMILARITY_WEIGHT = 35.0
"""Beside the match log-odds when candidates are re-ranked: chosen among 5, 10, ... 60 on galleries
of seeds 303 and 404, shortly before the end of training; from 25 on it hardly matters. Reported are
other seeds."""
