"""Closed lists for telling the objects of a caption.

They put right what the dictionary of `lemminflect`, which knows no context, says of words that captions are full of.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words("a an the this that these those some another each every its his her their my your our")
"""What opens a noun phrase: no noun stands right before one."""

NUMBERS = _words("two three four five six seven eight nine ten eleven twelve dozen several many few hundred thousand")
"""What a plural follows."""

SUBJECT_WORDS = _words("he she it they we you i who which that and to is are was were while as")
"""What a verb follows, besides a noun."""

PLURALS_BEFORE_NOUNS = _words("sports clothes glasses news arts goods ladies kids mens")
"""Plurals that go before another noun to make a name with it (sports car, kids bike)."""

FUNCTION_WORDS = (
    DETERMINERS
    | NUMBERS
    | SUBJECT_WORDS
    | _words(
        """
    any much all both either neither no none other others me him hers us them whom whose what when where why how
    himself herself itself themselves something someone anything anyone everything everyone nothing
    and or nor but if because than as so while until though there here not very more most such now still well just also too
    of with without at for from in into on onto off by to toward towards beside besides against during among amongst between
    atop upon beneath underneath below under above over across along through via per up down out outside inside behind near
    next past around back overhead opposite apart together let do does did be being been will can't don't
    one first second third last lots multiple
    """
    )
)
"""What the dictionary lists as a noun ("his", "while", "two") or does not list at all ("with", "beside")."""

DESCRIBING_WORDS = _words(
    """
    red white black blue green yellow brown pink purple grey gray silver beige teal maroon turquoise burgundy
    young old elderly little small big large giant mini tiny tall short long high low wide narrow thick thin fat heavy flat
    round oval sharp full empty half whole clean dirty clear dark bright wet dry hot cold warm cool good bad sweet new wild
    plain fake fancy lush smart fallen stuck bent open shut close left right living colored stuffed
    public rural urban modern ancient vintage antique retro double single dual individual personal special mobile portable
    compact wireless commercial industrial military polar oriental solitary familiar married possible natural necessary
    simple visible neutral major minor average aggressive musical sexual dental oral perpendicular upside overcast
    tidy cozy silly calm quiet glossy miniature pregnant blonde brunette upright pale polka plaid greyscale sepia navy
    crimson scarlet violet indigo magenta cyan khaki downtown uphill downhill
    french dutch english greek swiss asian german
    """
)
"""Adjectives that the dictionary also lists as nouns. Materials and "orange" are no such: they also name things."""

ACTIONS = _words(
    """
    approaches attacks bathes beeps bites bounces browses buys calls carries catches charges chases chats chews claps climbs
    comes crashes cries cuts digs dives dozes draws dreams eats features feeds fights fixes flaps gathers gazes glances glides
    glows goes grabs grazes grins growls hangs hauls helps hikes hits holds hops howls hugs hunts jumps kicks kisses laughs
    lays leads leaks leans licks lies looks makes marches meets melts mends moves naps overlooks passes pats peeks peers
    perches picks plays poses pulls pushes reaches reads repairs rests roosts runs serves shakes shaves shouts shows sips
    skips sleeps smells smiles sniffs soaks spills squats stares stirs stops strolls studies swallows sweeps swerves swims
    takes talks tastes throws ticks tosses touches travels tries turns uses waits walks wakes washes wears wipes works yells
    approach attack bathe beep bite bounce browse buy call catch charge chase chat chew clap climb come crash crawl crouch cry
    dive doze dream fight fix gather gaze glance glide glow go grab graze grin growl hang haul help hike hit hold hop
    howl hug hunt jump kick kiss laugh lay lead leak lean leave left lick lie look make march meet melt mend move nap overlook
    pass pat pay peek peer pick play pose pull push raise reach read repair rest roost run sell serve shake shave shout show sip
    skip sleep smell smile sniff soak spill squat stare stir stroll study sweep swerve swim take talk taste tick
    toss touch travel try turn use wait wake walk wash wear wipe work yell
    """
)
"""Verb forms that the dictionary also lists as nouns, though as such they name no thing that a picture shows."""

THINGS_AMONG_ACTIONS = _words("drives fly flies rides stands swallow swallows throw watches")
"""Verb forms that also name things, and in captions are more often verbs: the word before has to tell."""

TIMES = _words(
    """
    winter summer autumn morning afternoon evening night nighttime day daytime noon midday midnight dawn dusk today tonight
    week weekend month year hour minute january february april june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday
    """
)
"""Nouns for when a picture was taken: nothing in it can be pointed at."""

THINGS_IN_ING = _words(
    """
    building carving clothing coating covering crossing drawing dressing dwelling engraving etching fencing filling
    gathering housing icing landing lighting lining meeting netting opening painting paneling railing roofing seasoning
    serving sibling siding stocking stuffing topping tubing wedding wiring writing bedding
    """
)
"""Nouns that are also the -ing form of a verb; any other such form is taken as the verb."""

NOUN_LEMMAS = {
    "bar": "bar",
    "bars": "bar",
    "couscous": "couscous",
    "dam": "dam",
    "dams": "dam",
    "desktop": "desktop",
    "dice": "dice",
    "drapes": "drape",
    "flooring": "flooring",
    "frosting": "frosting",
    "leaves": "leaf",
    "leggings": "leggings",
    "log": "log",
    "logs": "log",
    "oxen": "ox",
    "pan": "pan",
    "pans": "pan",
    "pants": "pants",
    "parking": "parking",
    "plumbing": "plumbing",
    "remote": "remote",
    "shorts": "shorts",
    "sunglasses": "sunglasses",
    "tin": "tin",
    "tins": "tin",
    "trousers": "trousers",
}
"""Nouns that the dictionary knows as a verb or an adjective only, or first as another noun, with their lemmas."""
