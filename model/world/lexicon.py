"""The words that the world's tokenizer knows whole, in the order of their ids.

A trained word table has a row for each: new words are added at the end, and none is removed.
"""

FIRST = """
across again against an and apart appear appearing appears approach approaches approaching are
at away back background ball balls become becomes becoming being beside big bigger black block
blocks blue bottom bounce bounces bouncing box boxes brown change changes changing checkerboard
checkered chequered circle circles climb climbing climbs clip closer colour come comes coming
cross crosses crossing cyan descend descending descends diamond diamonds direction disappear
disappearing disappears disc discs donut donuts dot dots dotted down downward downwards drift
drifting drifts drop dropping drops each edge end ending ends enlarge enlarges enlarging expand
expanding expands fade fades fading fall falling falls first flies float floating floats fly
flying forth four from front get gets getting glide glides gliding go goes going gradient grainy
gray green grey grow growing grows head heading heads heart hearts hoop hoops huge in into
invisible is it jump jumping jumps large larger later left leftward leftwards little meet
meeting meets missing morph morphing morphs move moves moving near nearby next noise noisy
nothing of on one orange other out over pair part parting parts picture pink place plain plus
pluses purple red remain remaining remains rest return returning returns rhombus rhombuses right
rightward rightwards ring rings rise rises rising same see separate separates separating shaded
shape shapes show showing shows shrink shrinking shrinks side sign signs single sink sinking
sinks size slide slides sliding small smaller solid something spotted square squares stand
standing stands star stars start starting starts stay staying stays still striped stripes stripy
suddenly swing swinging swings that the then there thing things three tiny to together top
towards transform transforming transforms travel traveling travels triangle triangles turn
turning turns turquoise two up upward upwards vanish vanishes vanishing video view violet
visible which while white with yellow you
"""
SECOND = """
after air all alongside am anywhere aqua as banded bob bobbing bobs bump bumping by checks
chessboard close collide colliding color contract contracting contracts corner crimson cube
cubes decrease decreases decreasing deflate deflates deflating directions disk disks does don
doughnut doughnuts emerge emerges emerging enormous ever far film films find footage for form
further giant golden gone hold holding holds hole hop hopping hops increase increases increasing
inflate inflates inflating its itself join joining leap leaping leaps leave leaving lilac longer
look looking loop loops lozenge lozenges me middle mini more motionless movement no not nowhere
object objects opposite pattern polka pop popping pops put rectangle rectangles resting rests
rhomb rhombs rock rocking rocks rose round scarlet scene shown sit sits sitting smallish
speckled sphere spheres split splitting spot starlet starlets static sway swaying sways swell
swelling swells switch switches switching symbol symbols teal they thin touch touching toward
unmoving where watch
"""
WORDS = (*FIRST.split(), *SECOND.split())
