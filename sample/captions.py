"""What is said about a scene: captions for pre-training, queries for the videos.

Both name things, colours and places. Neither ever says how a thing is shown (near, far, dancing):
that is what the ratings of the videos depend on, and what pre-training must not be told.
"""

import numpy as np

from sample.scenes import Thing

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose"),
    "white": ("white",),
}
SUBJECT_WORDS: dict[str, tuple[str, ...]] = {
    "ball": ("ball",),
    "star": ("star",),
    "heart": ("heart",),
    "moon": ("moon", "moon", "crescent"),
    "flower": ("flower", "flower", "blossom"),
    "house": ("house", "house", "cottage"),
    "tree": ("tree", "tree", "pine"),
    "boat": ("boat", "boat", "ship"),
    "fish": ("fish",),
    "mushroom": ("mushroom", "mushroom", "toadstool"),
    "butterfly": ("butterfly",),
    "car": ("car", "car", "automobile"),
}
PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "sea": ("by the sea", "at the sea", "on the ocean", "with waves behind it"),
    "meadow": ("in a meadow", "on a meadow", "in the grass", "on a green field"),
    "desert": ("in the desert", "in a desert", "among sand dunes", "on the sand"),
    "forest": ("in the forest", "in a forest", "in the woods", "among trunks"),
    "city": ("in the city", "in a city", "in a town", "before tall buildings"),
    "snow": ("in the snow", "on snow", "on a snowy mountain", "in winter"),
    "night": ("at night", "in the night", "under a starry sky", "in the dark"),
    "kitchen": ("in a kitchen", "in the kitchen", "before a tiled wall", "on a table"),
}
CAPTIONS = (
    "a {thing} {place}",
    "{thing} {place}",
    "a picture of a {thing} {place}",
    "{place} there is a {thing}",
    "a {thing}",
    "the {thing} {place}, a photo",
    "here you see a {thing} {place}",
)
QUERIES = (
    "A {thing} can be seen {place}",
    "{place} we meet a {thing}.",
    "There is a {thing} {place}",
    "Someone films a {thing} {place}.",
    "a {thing} shows up {place}",
    "The {thing} is {place}.",
    "Look, a {thing} {place}!",
)


def name(thing: Thing, rng: np.random.Generator) -> str:
    return f"{rng.choice(COLOUR_WORDS[thing.colour])} {rng.choice(SUBJECT_WORDS[thing.subject])}"


def caption(things: list[Thing], place: str, rng: np.random.Generator) -> str:
    """One sentence on all `things` in a picture."""
    names = " and a ".join(name(thing, rng) for thing in things)
    return rng.choice(CAPTIONS).format(thing=names, place=rng.choice(PLACE_WORDS[place]))


def query(thing: Thing, place: str, rng: np.random.Generator) -> str:
    """A viewer's own words for one thing in one place."""
    text = rng.choice(QUERIES).format(thing=name(thing, rng), place=rng.choice(PLACE_WORDS[place]))
    return text[0].upper() + text[1:]
