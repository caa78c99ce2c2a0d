"""Closed lists for telling the objects of a caption by the word alone.

They put right what the dictionary of `lemminflect`, which knows no context, says of words that captions are full of.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words(
    """
    a an the this that these those some any many much few each every all both either neither no none other others another
    i me my you your he him his she her hers it its we us our they them their who whom whose which what when where why how
    himself herself itself themselves something someone anything anyone everything everyone nothing
    and or nor but if because than as so while until though there here not very more most such now still well just also too
    of with without at for from in into on onto off by to toward towards beside besides against during among amongst between
    atop upon beneath underneath below under above over across along through via per up down out outside inside behind near
    next past around back overhead opposite apart together let do does did be being been will can't don't
    one two three four five six seven eight nine ten eleven twelve dozen first second third last lots multiple
    """
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
    french dutch english greek swiss asian
    """
)
"""Adjectives that the dictionary also lists as nouns. Materials and "orange" are no such: they also name things."""

ACTIONS = _words(
    """
    approaches carries catches chases cuts drives eats features feeds flies gathers goes grazes hangs helps hits holds jumps
    kicks lays leads leans lies looks makes moves passes plays poses pulls pushes reaches reads rests rides runs serves
    shows sleeps smiles stands stares stops takes throws travels turns uses waits walks watches wears works
    catch come fly gather go hang help hit hold jump kick lay lean left lie look make move pass play pose pull push reach
    read rest run serve smile take throw try turn use walk wear work
    """
)
"""Verb forms that the dictionary also lists as nouns, though as such they name no thing that a picture shows."""

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
    "desktop": "desktop",
    "dice": "dice",
    "flooring": "flooring",
    "frosting": "frosting",
    "leaves": "leaf",
    "log": "log",
    "logs": "log",
    "pan": "pan",
    "pans": "pan",
    "parking": "parking",
    "plumbing": "plumbing",
    "remote": "remote",
    "tin": "tin",
    "tins": "tin",
}
"""Nouns that the dictionary knows as a verb or an adjective only, or first as another noun, with their lemmas."""
