"""The closed vocabulary: which words name which pictogram, what kind of thing it is and which colours it comes in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Kind(StrEnum):
    """A replacement stays within its kind, as papers.md 1.2 (lexicon variant) has it."""

    ANIMAL = "animal"
    VEHICLE = "vehicle"
    FURNITURE = "furniture"
    FOOD = "food"
    CONTAINER = "container"
    DEVICE = "device"
    TOY = "toy"
    CLOTHING = "clothing"
    PLANT = "greenery"
    BUILDING = "structure"
    STREET = "fixture"
    TOOL = "tool"
    PERSON = "somebody"

    @property
    def phrase(self) -> str:
        """How one speaks of a thing of which only the kind is known."""
        return _KIND_PHRASES[self]


_KIND_PHRASES: Mapping[Kind, str] = {
    Kind.ANIMAL: "an animal",
    Kind.VEHICLE: "a vehicle",
    Kind.FURNITURE: "a piece of furniture",
    Kind.FOOD: "some food",
    Kind.CONTAINER: "a container",
    Kind.DEVICE: "a device",
    Kind.TOY: "a toy",
    Kind.CLOTHING: "a piece of clothing",
    Kind.PLANT: "some greenery",
    Kind.BUILDING: "a structure",
    Kind.STREET: "a fixture",
    Kind.TOOL: "a tool",
    Kind.PERSON: "somebody",
}

KIND_WORDS: Mapping[str, Kind] = {
    **{kind.value: kind for kind in Kind},
    "animals": Kind.ANIMAL,
    "creature": Kind.ANIMAL,
    "vehicles": Kind.VEHICLE,
    "foods": Kind.FOOD,
    "containers": Kind.CONTAINER,
    "devices": Kind.DEVICE,
    "toys": Kind.TOY,
    "clothes": Kind.CLOTHING,
    "structures": Kind.BUILDING,
    "fixtures": Kind.STREET,
    "tools": Kind.TOOL,
}
"""Words that name a kind and no pictogram."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A thing of the sketch world: its name (one word), its pictogram's code point, and the words that mean it.

    `colours` are names of `palette.COLOURS`, the usual one first. Only an `editable` concept is replaced or put in
    another's place: people and things without a plural stay as they are.
    """

    name: str
    kind: Kind
    glyph: int
    colours: tuple[str, ...]
    synonyms: tuple[str, ...] = ()
    editable: bool = True

    @property
    def plural(self) -> str:
        return plural_of(self.name)


_IRREGULAR_PLURALS: Mapping[str, str] = {
    "mouse": "mice",
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "fish": "fish",
    "shrimp": "shrimp",
    "loaf": "loaves",
    "leaf": "leaves",
    "calf": "calves",
    "luggage": "luggage",
    "policeman": "policemen",
    "fireman": "firemen",
    "frisbee": "frisbees",
    "tomato": "tomatoes",
}

_NEVER_PLURAL = frozenset({"glass"})
"""Their plural means something else: glasses are mostly worn."""


def plural_of(phrase: str) -> str:
    """The plural of a noun or noun phrase; its last word takes the ending."""
    *before, noun = phrase.split(" ")
    if noun in _IRREGULAR_PLURALS:
        plural = _IRREGULAR_PLURALS[noun]
    elif noun.endswith(("s", "x", "ch", "sh")):
        plural = f"{noun}es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}s"
    return " ".join([*before, plural])


_ANIMAL_COLOURS = ("brown", "black", "grey", "orange", "white")
_PAINTS = ("red", "blue", "green", "orange", "purple", "black")
_CLOTH = ("blue", "red", "green", "purple", "pink", "black")
_WOOD = ("brown", "black", "red", "blue")
_GADGET = ("black", "grey", "blue")
_GLASS = ("blue", "green", "purple", "brown")
_STONE = ("brown", "grey", "red", "blue")
_METAL = ("grey", "black", "blue", "brown")
_LEAVES = ("green",)
_SKIN = ("purple", "blue", "brown", "green", "black")

CONCEPTS: tuple[Concept, ...] = (
    Concept("dog", Kind.ANIMAL, 0xF6D3, _ANIMAL_COLOURS, ("puppy", "hound", "terrier", "doggy")),
    Concept("cat", Kind.ANIMAL, 0xF6BE, _ANIMAL_COLOURS, ("kitten", "kitty")),
    Concept("horse", Kind.ANIMAL, 0xF6F0, ("brown", "black", "grey", "white"), ("pony", "foal")),
    Concept("cow", Kind.ANIMAL, 0xF6C8, ("black", "brown", "white"), ("bull", "calf", "ox", "steer")),
    Concept("dove", Kind.ANIMAL, 0xF4BA, ("grey", "blue", "white"), ("bird", "pigeon", "seagull", "gull")),
    Concept("crow", Kind.ANIMAL, 0xF520, ("black", "blue"), ("raven", "blackbird")),
    Concept("fish", Kind.ANIMAL, 0xF578, ("orange", "blue", "red")),
    Concept("frog", Kind.ANIMAL, 0xF52E, ("green", "brown"), ("toad",)),
    Concept("hippo", Kind.ANIMAL, 0xF6ED, ("grey", "purple"), ("hippopotamus", "rhino")),
    Concept("otter", Kind.ANIMAL, 0xF700, ("brown", "black"), ("beaver", "seal")),
    Concept("kiwi", Kind.ANIMAL, 0xF535, ("brown", "black")),
    Concept("spider", Kind.ANIMAL, 0xF717, ("black", "brown")),
    Concept("dragon", Kind.ANIMAL, 0xF6D5, ("green", "red", "purple"), ("dinosaur",)),
    Concept("beetle", Kind.ANIMAL, 0xF188, ("black", "red", "green"), ("bug", "insect", "ladybug")),
    Concept("elephant", Kind.ANIMAL, 0xF75E, ("grey", "blue")),
    Concept("donkey", Kind.ANIMAL, 0xF747, ("grey", "brown"), ("mule",)),
    Concept("car", Kind.VEHICLE, 0xF5E4, _PAINTS, ("sedan", "taxi", "cab", "automobile", "suv")),
    Concept("bus", Kind.VEHICLE, 0xF207, _PAINTS, ("coach",)),
    Concept("truck", Kind.VEHICLE, 0xF0D1, _PAINTS, ("lorry",)),
    Concept("train", Kind.VEHICLE, 0xF238, _PAINTS, ("locomotive", "subway train", "steam engine")),
    Concept("tram", Kind.VEHICLE, 0xE5B4, _PAINTS, ("trolley", "streetcar")),
    Concept("van", Kind.VEHICLE, 0xF5B6, _PAINTS, ("minivan",)),
    Concept("tractor", Kind.VEHICLE, 0xF722, ("green", "red", "orange")),
    Concept("motorcycle", Kind.VEHICLE, 0xF21C, ("black", "red", "blue"), ("motorbike", "moped")),
    Concept("bicycle", Kind.VEHICLE, 0xF206, ("red", "blue", "black"), ("bike",)),
    Concept("airplane", Kind.VEHICLE, 0xF072, ("blue", "red", "grey"), ("plane", "jet", "aircraft", "jetliner")),
    Concept("helicopter", Kind.VEHICLE, 0xF533, ("green", "blue", "black"), ("chopper",)),
    Concept("sailboat", Kind.VEHICLE, 0xE445, ("red", "blue", "brown"), ("boat", "canoe", "kayak")),
    Concept("ship", Kind.VEHICLE, 0xF21A, ("red", "blue", "black"), ("cruise ship", "tugboat")),
    Concept("ferry", Kind.VEHICLE, 0xE4EA, ("green", "blue", "red"), ("barge",)),
    Concept("rocket", Kind.VEHICLE, 0xF135, ("red", "purple", "blue")),
    Concept("caravan", Kind.VEHICLE, 0xF8FF, ("orange", "red", "blue"), ("camper", "rv")),
    Concept("sleigh", Kind.VEHICLE, 0xF7CC, ("red", "brown"), ("sled", "sledge")),
    Concept("snowplow", Kind.VEHICLE, 0xF7D2, ("orange", "blue", "red"), ("bulldozer",)),
    Concept("trailer", Kind.VEHICLE, 0xE041, ("brown", "grey", "red"), ("wagon",)),
    Concept("stroller", Kind.VEHICLE, 0xF77D, ("blue", "pink", "purple"), ("baby carriage", "pram")),
    Concept("chair", Kind.FURNITURE, 0xF6C0, _WOOD, ("stool", "armchair")),
    Concept("couch", Kind.FURNITURE, 0xF4B8, ("red", "blue", "green", "brown"), ("sofa", "loveseat")),
    Concept("bed", Kind.FURNITURE, 0xF236, _WOOD, ("bunk",)),
    Concept("toilet", Kind.FURNITURE, 0xF7D8, ("white", "blue", "grey"), ("urinal",)),
    Concept("bathtub", Kind.FURNITURE, 0xF2CD, ("blue", "grey", "white"), ("tub", "bath tub")),
    Concept("sink", Kind.FURNITURE, 0xE06D, ("grey", "blue"), ("washbasin", "basin")),
    Concept("door", Kind.FURNITURE, 0xF52A, _WOOD),
    Concept("lamp", Kind.FURNITURE, 0xF0EB, ("orange", "purple", "yellow"), ("light bulb", "lantern")),
    Concept("pizza", Kind.FOOD, 0xF818, ("orange", "red")),
    Concept("hamburger", Kind.FOOD, 0xF805, ("brown", "orange"), ("burger", "cheeseburger", "sandwich")),
    Concept("sausage", Kind.FOOD, 0xF80F, ("red", "brown"), ("hot dog", "hotdog")),
    Concept("cookie", Kind.FOOD, 0xF563, ("brown", "orange"), ("biscuit",)),
    Concept("cake", Kind.FOOD, 0xF1FD, ("pink", "purple", "brown"), ("cupcake", "birthday cake")),
    Concept("apple", Kind.FOOD, 0xF5D1, ("red", "green")),
    Concept("carrot", Kind.FOOD, 0xF787, ("orange", "red")),
    Concept("lemon", Kind.FOOD, 0xF094, ("yellow", "green"), ("lime",)),
    Concept("egg", Kind.FOOD, 0xF7FB, ("orange", "brown", "blue")),
    Concept("drumstick", Kind.FOOD, 0xF6D7, ("brown", "orange"), ("chicken leg",)),
    Concept("pepper", Kind.FOOD, 0xF816, ("red", "green"), ("chili", "bell pepper")),
    Concept("shrimp", Kind.FOOD, 0xE448, ("pink", "orange", "red"), ("prawn", "lobster")),
    Concept("bread", Kind.FOOD, 0xF7EC, ("brown", "orange"), ("toast",), editable=False),
    Concept("cheese", Kind.FOOD, 0xF7EF, ("orange", "yellow"), editable=False),
    Concept("bacon", Kind.FOOD, 0xF7E5, ("red", "brown"), editable=False),
    Concept("ice cream", Kind.FOOD, 0xF810, ("pink", "purple"), ("ice cream cone",), editable=False),
    Concept("bottle", Kind.CONTAINER, 0xF72F, _GLASS, ("wine bottle", "beer bottle", "water bottle")),
    Concept("mug", Kind.CONTAINER, 0xF7B6, _CLOTH, ("cup", "coffee cup", "coffee mug", "teacup")),
    Concept("goblet", Kind.CONTAINER, 0xF4E3, _GLASS, ("wine glass", "wineglass")),
    Concept("tumbler", Kind.CONTAINER, 0xE4F4, _GLASS, ("glass", "drinking glass")),
    Concept("cocktail", Kind.CONTAINER, 0xF000, ("pink", "green", "purple"), ("martini",)),
    Concept("beer", Kind.CONTAINER, 0xF0FC, ("orange", "brown"), ("pint",)),
    Concept("jar", Kind.CONTAINER, 0xE516, _GLASS, ("vase",)),
    Concept("bucket", Kind.CONTAINER, 0xE4CF, _PAINTS, ("pail",)),
    Concept("basket", Kind.CONTAINER, 0xF291, ("brown", "orange", "red")),
    Concept("box", Kind.CONTAINER, 0xF49E, ("brown", "orange", "blue"), ("crate", "carton")),
    Concept("bowl", Kind.CONTAINER, 0xE2EB, _CLOTH),
    Concept("flask", Kind.CONTAINER, 0xF0C3, ("green", "purple", "blue")),
    Concept("television", Kind.DEVICE, 0xF26C, _GADGET, ("tv", "television set", "tv set")),
    Concept("laptop", Kind.DEVICE, 0xF109, _GADGET, ("laptop computer", "notebook computer")),
    Concept("computer", Kind.DEVICE, 0xE4E5, _GADGET, ("desktop computer", "pc", "computer monitor", "monitor")),
    Concept(
        "phone", Kind.DEVICE, 0xF3CE, _GADGET, ("cell phone", "cellphone", "smartphone", "telephone", "mobile phone")
    ),
    Concept("camera", Kind.DEVICE, 0xF030, _GADGET),
    Concept("clock", Kind.DEVICE, 0xF017, ("blue", "black", "brown", "red"), ("alarm clock",)),
    Concept("keyboard", Kind.DEVICE, 0xF11C, _GADGET, ("computer keyboard",)),
    Concept("mouse", Kind.DEVICE, 0xF8CC, _GADGET, ("computer mouse",)),
    Concept("radio", Kind.DEVICE, 0xF8D7, ("brown", "red", "black"), ("stereo",)),
    Concept("printer", Kind.DEVICE, 0xF02F, ("grey", "black")),
    Concept("fan", Kind.DEVICE, 0xF863, ("blue", "grey", "green")),
    Concept("blender", Kind.DEVICE, 0xF517, ("red", "grey", "green"), ("mixer",)),
    Concept("headphone", Kind.DEVICE, 0xF025, ("black", "red", "blue"), ("headset",)),
    Concept("microphone", Kind.DEVICE, 0xF130, ("black", "grey", "red")),
    Concept("controller", Kind.DEVICE, 0xF11B, ("black", "blue", "purple"), ("gamepad", "game controller", "joystick")),
    Concept("ball", Kind.TOY, 0xF1E3, ("black", "blue", "red"), ("soccer ball", "tennis ball")),
    Concept("football", Kind.TOY, 0xF44E, ("brown", "red"), ("rugby ball",)),
    Concept(
        "racket", Kind.TOY, 0xF45D, ("red", "blue", "black"), ("racquet", "paddle", "tennis racket", "tennis racquet")
    ),
    Concept("bat", Kind.TOY, 0xF432, ("brown", "black"), ("baseball bat",)),
    Concept("dumbbell", Kind.TOY, 0xF44B, ("black", "grey", "blue"), ("barbell",)),
    Concept("dice", Kind.TOY, 0xF522, ("red", "purple", "blue"), editable=False),
    Concept("puzzle", Kind.TOY, 0xF12E, ("green", "purple", "orange")),
    Concept("robot", Kind.TOY, 0xF544, ("grey", "blue", "red")),
    Concept("trophy", Kind.TOY, 0xF091, ("orange", "yellow", "brown")),
    Concept("medal", Kind.TOY, 0xF5A2, ("orange", "yellow", "red")),
    Concept("ghost", Kind.TOY, 0xF6E2, ("purple", "white", "blue")),
    Concept("guitar", Kind.TOY, 0xF7A6, ("brown", "red", "black"), ("violin",)),
    Concept("drum", Kind.TOY, 0xF569, ("red", "blue", "brown")),
    Concept("shirt", Kind.CLOTHING, 0xF553, _CLOTH, ("t shirt", "tshirt", "jersey", "sweater")),
    Concept("hat", Kind.CLOTHING, 0xF8C0, ("brown", "black", "red"), ("cap", "cowboy hat")),
    Concept("sock", Kind.CLOTHING, 0xF696, _CLOTH, ("stocking",)),
    Concept("glove", Kind.CLOTHING, 0xF7B5, _CLOTH, ("mitten", "mitt", "baseball glove")),
    Concept("vest", Kind.CLOTHING, 0xE085, _CLOTH, ("jacket", "coat")),
    Concept("helmet", Kind.CLOTHING, 0xF807, ("orange", "red", "blue")),
    Concept("crown", Kind.CLOTHING, 0xF521, ("yellow", "orange", "purple"), ("tiara",)),
    Concept("ring", Kind.CLOTHING, 0xF70B, ("yellow", "grey", "orange"), ("bracelet",)),
    Concept("umbrella", Kind.CLOTHING, 0xF0E9, _CLOTH, ("parasol",)),
    Concept("suitcase", Kind.CLOTHING, 0xF0F2, ("brown", "red", "blue", "black"), ("luggage",)),
    Concept("briefcase", Kind.CLOTHING, 0xF0B1, ("brown", "black")),
    Concept("bag", Kind.CLOTHING, 0xF290, _CLOTH, ("handbag", "purse", "backpack", "shopping bag")),
    Concept("tree", Kind.PLANT, 0xF1BB, _LEAVES, ("pine", "christmas tree", "pine tree")),
    Concept("leaf", Kind.PLANT, 0xF06C, ("green", "orange", "red")),
    Concept("plant", Kind.PLANT, 0xF4D8, _LEAVES, ("seedling", "house plant")),
    Concept("clover", Kind.PLANT, 0xE139, _LEAVES, ("shamrock",)),
    Concept("wheat", Kind.PLANT, 0xE2CD, ("orange", "brown"), editable=False),
    Concept("flower", Kind.PLANT, 0xF5BB, ("pink", "purple", "red"), ("lotus", "tulip", "rose", "lily")),
    Concept("house", Kind.BUILDING, 0xF015, _STONE, ("cottage", "cabin")),
    Concept("church", Kind.BUILDING, 0xF51D, _STONE, ("chapel", "cathedral")),
    Concept("building", Kind.BUILDING, 0xF1AD, _STONE, ("skyscraper", "apartment building")),
    Concept("bridge", Kind.BUILDING, 0xE4C8, ("brown", "grey", "red")),
    Concept("hotel", Kind.BUILDING, 0xF594, _STONE, ("motel",)),
    Concept("school", Kind.BUILDING, 0xF549, _STONE, ("schoolhouse",)),
    Concept("factory", Kind.BUILDING, 0xF275, ("grey", "brown", "black"), ("plant building",)),
    Concept("dome", Kind.BUILDING, 0xF7AE, ("blue", "grey"), ("igloo",)),
    Concept("tent", Kind.BUILDING, 0xE57D, ("orange", "green", "red")),
    Concept("tower", Kind.BUILDING, 0xE586, ("brown", "grey"), ("clock tower", "lighthouse")),
    Concept("mosque", Kind.BUILDING, 0xF678, ("blue", "brown")),
    Concept("barn", Kind.BUILDING, 0xF494, ("red", "brown"), ("warehouse", "garage", "shed")),
    Concept("store", Kind.BUILDING, 0xF54E, ("green", "red", "blue"), ("shop", "supermarket")),
    Concept("monument", Kind.BUILDING, 0xF5A6, ("grey", "brown"), ("obelisk",)),
    Concept("arch", Kind.BUILDING, 0xF557, ("brown", "grey"), ("archway",)),
    Concept(
        "signal", Kind.STREET, 0xF637, ("black", "green", "orange"), ("traffic light", "traffic signal", "stoplight")
    ),
    Concept("signpost", Kind.STREET, 0xF277, ("brown", "green", "blue"), ("sign", "street sign", "stop sign")),
    Concept("hydrant", Kind.STREET, 0xF134, ("red", "orange", "blue"), ("fire hydrant", "fire extinguisher")),
    Concept("flag", Kind.STREET, 0xF024, ("red", "blue", "green")),
    Concept("anchor", Kind.STREET, 0xF13D, ("black", "blue", "grey")),
    Concept("bell", Kind.STREET, 0xF0F3, ("orange", "yellow", "brown")),
    Concept("pump", Kind.STREET, 0xF52F, ("red", "green", "blue"), ("gas pump", "parking meter")),
    Concept("hammer", Kind.TOOL, 0xF6E3, _METAL),
    Concept("wrench", Kind.TOOL, 0xF0AD, _METAL, ("spanner",)),
    Concept("screwdriver", Kind.TOOL, 0xF54A, ("orange", "red", "blue")),
    Concept("scissor", Kind.TOOL, 0xF0C4, ("red", "black", "blue"), ("pair of scissors",), editable=False),
    Concept("broom", Kind.TOOL, 0xF51A, ("brown", "orange"), ("mop",)),
    Concept("spoon", Kind.TOOL, 0xF2E5, _METAL, ("ladle", "spatula")),
    Concept("fork", Kind.TOOL, 0xF2E7, _METAL, ("knife and fork",)),
    Concept("lens", Kind.TOOL, 0xF002, ("black", "brown", "blue"), ("magnifying glass",), editable=False),
    Concept("lock", Kind.TOOL, 0xF023, ("brown", "grey", "black"), ("padlock",)),
    Concept("book", Kind.TOOL, 0xF02D, _CLOTH, ("novel", "textbook")),
    Concept("newspaper", Kind.TOOL, 0xF1EA, ("grey", "black")),
    Concept("envelope", Kind.TOOL, 0xF0E0, ("brown", "blue", "pink"), ("letter",)),
    Concept("gift", Kind.TOOL, 0xF06B, ("red", "purple", "green")),
    Concept("megaphone", Kind.TOOL, 0xF0A1, ("red", "orange", "blue")),
    Concept(
        "man",
        Kind.PERSON,
        0xF183,
        _SKIN,
        (
            "person",
            "guy",
            "gentleman",
            "player",
            "skater",
            "surfer",
            "rider",
            "batter",
            "policeman",
            "adult",
            "someone",
        ),
        editable=False,
    ),
    Concept("woman", Kind.PERSON, 0xF182, _SKIN, ("lady", "female", "bride", "mother"), editable=False),
    Concept("boy", Kind.PERSON, 0xF1AE, _SKIN, ("child", "kid", "toddler"), editable=False),
    Concept("girl", Kind.PERSON, 0xE59C, _SKIN, ("little girl",), editable=False),
    Concept("baby", Kind.PERSON, 0xF77C, _SKIN, ("infant",), editable=False),
    Concept("skier", Kind.PERSON, 0xF7C9, _SKIN, ("ski jumper",), editable=False),
    Concept("snowboarder", Kind.PERSON, 0xF7CE, _SKIN, ("skateboarder",), editable=False),
    Concept("swimmer", Kind.PERSON, 0xF5C4, _SKIN, (), editable=False),
    Concept("cyclist", Kind.PERSON, 0xF84A, _SKIN, ("biker", "bicyclist"), editable=False),
)
"""Silhouettes that are hard to tell apart (a taxi and a car) share one concept or stay out."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word or phrase means: a concept, one of it or several."""

    concept: Concept
    plural: bool


@cache
def meanings() -> Mapping[tuple[str, ...], Meaning]:
    """Every known word or phrase, as a tuple of lower-case words."""
    return {words: meaning for concept in CONCEPTS for words, meaning in _forms(concept)}


def _forms(concept: Concept) -> Iterator[tuple[tuple[str, ...], Meaning]]:
    for phrase in (concept.name, *concept.synonyms):
        if phrase not in _NEVER_PLURAL:
            yield tuple(plural_of(phrase).split(" ")), Meaning(concept, plural=True)
        yield tuple(phrase.split(" ")), Meaning(concept, plural=False)


@cache
def substitutes(concept: Concept) -> tuple[Concept, ...]:
    """What can stand in a concept's place: every other editable concept of its kind."""
    return tuple(c for c in CONCEPTS if c.kind is concept.kind and c.editable and c is not concept)
