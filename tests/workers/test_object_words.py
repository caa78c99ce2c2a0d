"""Object words of caption edits as people write them."""

import pytest

from workers.boxes.object_words import ObjectWords, object_words
from workers.boxes.settings import ObjectRule

TABLE = """
A dog is sitting on a couch. | A cat is sitting on a couch. | dog | cat
Two dogs are running in the park. | Two horses are running in the park. | dog | horse
A man riding a wave on a surfboard. | A man riding a wave on a boat. | surfboard | boat
A bowl of apples on the table. | A bowl of oranges on the table. | apple | orange
A red bus parked on the street. | A red truck parked on the street. | bus | truck
A woman holding an umbrella in the rain. | A woman holding a newspaper in the rain. | umbrella | newspaper
The giraffe eats leaves from a tree. | The elephant eats leaves from a tree. | giraffe | elephant
A kitchen with a stove and a sink. | A kitchen with a fridge and a sink. | stove | fridge
A little girl with a teddy bear. | A little girl with a rag doll. | teddy bear | rag doll
A plate of food with broccoli. | A plate of food with carrots. | broccoli | carrot
A cat sleeps on top of a laptop. | A cat sleeps on top of a suitcase. | laptop | suitcase
Several people standing next to a fire hydrant. | Several people standing next to a mailbox. | fire hydrant | mailbox
A baseball player swinging a bat. | A tennis player swinging a racket. | baseball bat | tennis racket
An airplane is flying in the sky. | A kite is flying in the sky. | airplane | kite
A vase filled with flowers sits on a desk. | A lamp sits on a desk. | vase flower | lamp
A train traveling down the tracks. | A tram traveling down the tracks. | train | tram
The bathroom has a toilet and a tub. | The bathroom has a toilet and a shower. | tub | shower
A bear walking through the grass. | A wolf walking through the grass. | bear | wolf
A group of sheep grazing in a field. | A group of cows grazing in a field. | sheep | cow
A clock on the side of a building. | A banner on the side of a building. | clock | banner
A boy is wearing a hat. | A boy is wearing a helmet. | hat | helmet
Three pizzas on a counter. | Three pies on a counter. | pizza | pie
A knife on a cutting board. | A spoon on a cutting board. | knife | spoon
Some women are sitting on a bench. | Some children are sitting on a bench. | woman | child
A zebra standing in the dirt. | An ostrich standing in the dirt. | zebra | ostrich
A man in a suit and tie. | A man in a suit and scarf. | tie | scarf
A skateboarder jumps over a rail. | A cyclist jumps over a rail. | skateboarder | cyclist
A remote on a sofa. | A book on a sofa. | remote | book
Fresh bread in a pan. | Fresh bread in a basket. | pan | basket
A log lies in the river. | A canoe lies in the river. | log | canoe
A child's toy on the floor. | A child's shoe on the floor. | toy | shoe
A man throws a frisbee to a dog. | A man throws a frisbee to a goat. | dog | goat
A polar bear swims in the water. | A penguin swims in the water. | bear | penguin
A bunch of bananas hanging from a tree. | A bunch of coconuts hanging from a tree. | banana | coconut
A wine glass next to a bottle. | A coffee mug next to a bottle. | wine glass | coffee mug
Skis leaning against a wall. | Snowboards leaning against a wall. | ski | snowboard
A wooden chair in a room. | A wooden stool in a room. | chair | stool
A stop sign at an intersection. | A traffic light at an intersection. | stop sign | traffic light
A bird perched on a branch. | A squirrel perched on a branch. | bird | squirrel
The TV is on the dresser. | The mirror is on the dresser. | tv | mirror
A cowboy riding a horse. | A cowboy riding a bull. | horse | bull
An old church with a tower. | An old castle with a tower. | church | castle
A couple of kids playing with a ball. | A couple of kids playing with a drone. | ball | drone
A motorcycle parked in front of a store. | A scooter parked in front of a store. | motorcycle | scooter
A chef cutting an onion. | A chef cutting a tomato. | onion | tomato
A mouse and keyboard on a desk. | A mouse and notebook on a desk. | keyboard | notebook
Cookies on a baking sheet. | Muffins on a baking sheet. | cookie | muffin
A glass of milk by the window. | A candle by the window. | glass milk | candle
A pair of scissors on paper. | A pair of glasses on paper. | scissors | glass
A boat docked near the pier. | A seaplane docked near the pier. | boat | seaplane
A painting above the fireplace. | A shelf above the fireplace. | painting | shelf
A t-shirt on a hanger. | A wetsuit on a hanger. | t-shirt | wetsuit
A policeman on a bicycle. | A policeman on a Segway. | bicycle | segway
A close-up of a rose. | A close-up of a sunflower. | rose | sunflower
A smartphone charging on a table. | An iPad charging on a table. | smartphone | ipad
A sandwich cut in half. | A watermelon cut in half. | sandwich | watermelon
Two men are playing tennis. | Two women are playing tennis. | man | woman
A fallen tree blocks the road. | A broken truck blocks the road. | tree | truck
A cat on a mat looks at a bird. | A cat on a mat looks at a fish. | bird | fish
A hot dog with mustard. | A hamburger with mustard. | dog | hamburger
A man on a horse next to a dog. | A man on a horse next to a horse. | dog | horse
A dog. | A dog and a cat. | | cat
A dog and a cat in a bed. | A dog in a bed. | cat |
A red ball on the mat. | A blue ball on the mat. | |
A man sitting on a bench. | A man standing on a bench. | |
A man rides a bike. | A man pushes a bike. | |
A small dog. | A large dog. | |
A fork beside a knife. | A knife beside a fork. | |
A dog on the sofa. | THE DOG, on a sofa! | |
"""
CASES = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("caption", "edited", "first", "second"), CASES)
def test_object_words(caption: str, edited: str, first: str, second: str) -> None:
    assert object_words(caption, edited) == ObjectWords(tuple(first.split()), tuple(second.split()))


@pytest.mark.parametrize(
    ("first", "second", "either", "both"),
    [
        ((), (), False, False),
        (("dog",), (), True, False),
        ((), ("cat",), True, False),
        (("dog",), ("cat",), True, True),
    ],
)
def test_the_rule_says_which_sides_need_a_word(
    first: tuple[str, ...], second: tuple[str, ...], either: bool, both: bool
) -> None:
    words = ObjectWords(first, second)
    assert (words.suffice_for(ObjectRule.EITHER), words.suffice_for(ObjectRule.BOTH)) == (either, both)
