"""The words for things, their looks and what they do, in the forms that sentences need."""

from model.world.story import Background, Colour, Kind, Size, Texture

KIND_WORDS: dict[Kind, tuple[tuple[str, str], ...]] = {  # one, several
    Kind.CIRCLE: (("circle", "circles"), ("disc", "discs"), ("ball", "balls"), ("dot", "dots")),
    Kind.SQUARE: (("square", "squares"), ("box", "boxes"), ("block", "blocks")),
    Kind.TRIANGLE: (("triangle", "triangles"),),
    Kind.STAR: (("star", "stars"),),
    Kind.RING: (("ring", "rings"), ("hoop", "hoops"), ("donut", "donuts")),
    Kind.CROSS: (("cross", "crosses"), ("plus sign", "plus signs"), ("plus", "pluses")),
    Kind.DIAMOND: (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    Kind.HEART: (("heart", "hearts"),),
}
COLOUR_WORDS: dict[Colour, tuple[str, ...]] = {
    Colour.RED: ("red",),
    Colour.ORANGE: ("orange",),
    Colour.YELLOW: ("yellow",),
    Colour.GREEN: ("green",),
    Colour.TURQUOISE: ("turquoise", "cyan"),
    Colour.BLUE: ("blue",),
    Colour.PURPLE: ("purple", "violet"),
    Colour.PINK: ("pink",),
}
SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("small", "little", "tiny"),
    Size.LARGE: ("large", "big", "huge"),
}
TEXTURE_WORDS: dict[Texture, tuple[str, ...]] = {
    Texture.PLAIN: ("plain", "solid"),
    Texture.STRIPED: ("striped", "stripy"),
    Texture.DOTTED: ("dotted", "spotted"),
}
COUNT_WORDS: dict[int, tuple[str, ...]] = {
    1: ("one", "a single", "1"),
    2: ("two", "a pair of", "2"),
    3: ("three", "3"),
    4: ("four", "4"),
}
BACKGROUND_WORDS: dict[Background, tuple[str, ...]] = {
    Background.WHITE: ("a white background", "white"),
    Background.GREY: ("a grey background", "a gray background", "grey"),
    Background.BLACK: ("a black background", "black"),
    Background.BROWN: ("a brown background", "brown"),
    Background.GRADIENT: ("a gradient background", "a gradient", "a shaded background"),
    Background.CHECKER: ("a checkered background", "a checkerboard", "a chequered background"),
    Background.NOISE: ("a noisy background", "a grainy background", "noise"),
    Background.STRIPES: ("a background with stripes", "a background of stripes", "stripes"),
}
PREPOSITIONS = ("on", "over", "in front of", "against")

VERBS: dict[str, tuple[str, str, str]] = {  # base, third person, -ing
    verb: (verb, verb + "s", verb + "ing")
    for verb in (
        "appear", "bounce", "climb", "come", "disappear", "drift", "drop", "enlarge", "expand",
        "fade", "fall", "float", "glide", "grow", "head", "jump", "meet", "morph", "move", "part",
        "rise", "separate", "shrink", "sink", "slide", "stand", "start", "stay", "sway", "swing",
        "transform", "travel", "turn", "vanish", "approach", "change", "become", "end", "remain",
        "return", "descend", "inflate", "swell", "increase", "decrease", "contract", "deflate",
        "pop", "emerge", "bump", "collide", "join", "split", "leave", "hold", "sit",
        "rest", "hop", "leap", "bob", "rock",
    )
} | {
    "go": ("go", "goes", "going"),
    "cross": ("cross", "crosses", "crossing"),
    "pass": ("pass", "passes", "passing"),
    "fly": ("fly", "flies", "flying"),
    "get": ("get", "gets", "getting"),
    "be": ("are", "is", "being"),
    "show": ("show up", "shows up", "showing up"),
    "switch": ("switch", "switches", "switching"),
    "touch": ("touch", "touches", "touching"),
    "not_move": ("do not move", "does not move", "not moving"),
    "not_go": ("do not go", "does not go", "not going"),
    "not_change": ("do not change", "does not change", "not changing"),
    "dont_move": ("don't move", "doesn't move", "not moving"),
}  # fmt: skip
for _verb in (
    "bounce", "come", "drop", "enlarge", "fade", "glide", "move", "rise", "separate", "slide",
    "change", "become", "get", "swing", "shrink", "approach", "vanish", "cross", "pass",
    "descend", "approach", "inflate", "increase", "decrease", "deflate", "emerge", "collide",
    "leave",
):  # fmt: skip
    _base, _third, _ing = VERBS[_verb]
    if _base.endswith("e"):
        VERBS[_verb] = (_base, _third, _base[:-1] + "ing")
VERBS["get"] = ("get", "gets", "getting")
VERBS |= {  # the last letter doubles
    verb: (verb, verb + "s", verb + verb[-1] + "ing")
    for verb in ("drop", "pop", "split", "sit", "hop", "bob")
}
VERBS["vanish"] = ("vanish", "vanishes", "vanishing")
VERBS["approach"] = ("approach", "approaches", "approaching")
