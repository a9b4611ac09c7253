"""The 102 made-up species of the built-in data set: what each one's flowers look like, its name, a flower."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from flowers.blades import DOWN, Blade, mix, project, rgb, tones, unit

CLASSES = 102
SEED = 102
GOLDEN = np.pi * (3 - 5**0.5)  # the angle between successive seeds of a sunflower

COLOURS = {  # hue, lightness, saturation
    "white": (0.14, 0.9, 0.3), "cream": (0.13, 0.83, 0.65), "yellow": (0.145, 0.53, 0.95),
    "golden": (0.115, 0.5, 0.97), "orange": (0.07, 0.52, 0.95), "salmon": (0.02, 0.68, 0.85),
    "scarlet": (0.005, 0.45, 0.9), "crimson": (0.96, 0.36, 0.8), "rosy": (0.93, 0.62, 0.8),
    "blush": (0.95, 0.83, 0.7), "magenta": (0.88, 0.47, 0.75), "purple": (0.8, 0.4, 0.5),
    "lilac": (0.76, 0.73, 0.5), "violet": (0.72, 0.48, 0.55), "blue": (0.645, 0.52, 0.7),
    "azure": (0.59, 0.66, 0.75)}
# last part of the name: Blade's and Species's fields, a pair being the range that a genus draws from
FORMS = {
    "eye": dict(petals=(13, 24), layers=(1, 2), width=(0.09, 0.15), tip=(0.3, 0.6), opening=(0.0, 0.3),
        bend=-0.1, centre=(0.24, 0.38)),
    "star": dict(petals=(5, 8), width=(0.17, 0.32), tip=(0.5, 1.0), opening=(0.0, 0.4), bend=-0.15,
        centre=(0.06, 0.12), stamens=9),
    "cup": dict(petals=(5, 6), width=(0.44, 0.56), tip=(0.2, 0.4), opening=(0.3, 0.7), bend=0.2, camber=0.8,
        centre=(0.1, 0.18), stamens=16),
    "lily": dict(petals=6, width=(0.17, 0.26), tip=(0.5, 0.9), opening=(0.5, 0.8), bend=-0.5, centre=0.05,
        stamens=6, tilt=0.4),
    "rose": dict(petals=(5, 7), layers=(4, 5), width=(0.42, 0.54), tip=(0.2, 0.4), opening=(0.1, 0.4),
        bend=0.3, centre=0.08),
    "crown": dict(petals=(11, 14), layers=(3, 4), width=(0.14, 0.2), tip=(0.4, 0.8), opening=(0.0, 0.3),
        bend=0.2, centre=0.13),
    "face": dict(petals=5, width=(0.42, 0.54), tip=(0.25, 0.4), opening=(0.0, 0.2), bend=-0.1, centre=0.06,
        lip=0.25),
    "goblet": dict(petals=3, layers=2, width=(0.36, 0.46), tip=(0.4, 0.7), opening=(0.9, 1.1), bend=0.4,
        camber=0.8, centre=0.1, tilt=-1.1),
    "bell": dict(petals=(5, 6), width=(0.34, 0.42), tip=(0.3, 0.6), opening=(1.05, 1.25), bend=-0.2,
        camber=0.9, centre=0.1, florets=3, stretch=1.0, droop=1.6, tilt=-1.3),
    "globe": dict(petals=(4, 6), width=(0.28, 0.42), tip=(0.3, 0.8), opening=(0.1, 0.4), centre=(0.2, 0.3),
        florets=32, stretch=0.9, tilt=-0.7),
    "candle": dict(petals=(4, 5), width=(0.3, 0.42), tip=(0.3, 0.8), opening=(0.3, 0.8), centre=0.2,
        florets=40, stretch=3.0, droop=0.5, tilt=-1.4),
    "thistle": dict(petals=(20, 26), layers=2, width=(0.03, 0.05), tip=(0.5, 0.9), opening=(0.1, 0.5),
        bend=0.2, shadow=0.07, centre=(0.15, 0.3), stamens=14)}
GENERA = [
    "moon", "dew", "frost", "ember", "wolf", "silk", "thorn", "mist", "fen", "lark", "amber",
    "hollow", "marsh", "velvet", "lantern", "raven", "honey", "willow", "bramble", "cinder",
    "heron", "juniper", "glass", "feather", "linnet", "copper", "north", "shadow", "pebble", "tide",
    "saffron", "wren", "drift", "orchard"]


@dataclass(frozen=True)
class Species:
    """Lengths are shares of the petal's length."""

    name: str
    petal: Blade
    dot: Blade  # the centre is made of dots
    stamen: Blade
    stem: Blade
    leaf: Blade
    petals: int  # a layer
    opening: float  # rise of the outer petals, radians: 0 flat, 1.3 a tube
    centre: float  # radius
    layers: int = 1
    stamens: int = 0
    lip: float = 0.0  # by how much the lowest petal is longer
    tilt: float = 0.0  # of the axis from the line of sight, radians; negative is upwards
    florets: int = 1
    stretch: float = 1.0  # height of the head of florets by its width
    droop: float = 0.0  # of the florets


@lru_cache(CLASSES)
def species(k: int) -> Species:
    """Species k in 0..101: three a genus, the second of another colour, the third with a feature."""
    genus, sibling = divmod(k, 3)
    rng = np.random.default_rng((SEED, genus))
    noun = list(FORMS)[genus % len(FORMS)]
    form = {field: value if not isinstance(value, tuple) else
            int(rng.integers(value[0], value[1] + 1)) if isinstance(value[0], int) else rng.uniform(*value)
            for field, value in FORMS[noun].items()}
    names = list(COLOURS)
    adjective = names[rng.permutation(len(names))[sibling % 2]]
    colour, pale = rgb(*COLOURS[adjective]), (0.97, 0.94, 0.83)
    green = rgb(*rng.uniform((0.22, 0.26, 0.3), (0.34, 0.4, 0.5)))
    deep = mix(colour, (0.15, 0.0, 0.1), 0.6)
    disc = rgb(rng.uniform(0.05, 0.15), *((0.16, 0.5), (0.5, 0.9))[rng.integers(2)])  # brown or golden
    if noun in ("rose", "crown"):
        disc = mix(colour, deep, 0.4)
    throat = mix(colour, (deep, pale, (1.0, 0.75, 0.1), (0.4, 0.55, 0.15))[rng.integers(4)], 0.6)
    outline = {field: form.pop(field)
               for field in ("width", "tip", "bend", "camber", "shadow") if field in form}
    outline = {"camber": rng.uniform(0.1, 0.5), "base": rng.uniform(0.35, 0.9), "veins": rng.uniform(0, 0.4),
               "notch": rng.choice((0.0, 0.0, 0.12)).item()} | outline
    petal = Blade((throat, colour, mix(colour, pale, rng.uniform(0, 0.4))), **outline)
    if sibling == 2:
        features = {
            "spotted": dict(spots=0.75), "striped": dict(veins=1.2), "fringed": dict(fringe=0.2),
            "slender": dict(width=0.62 * petal.width), "dark-eyed": dict(colours=(deep, colour, colour)),
            "edged": dict(edge=1.0, colours=(throat, colour, pale if sum(colour) < 1.9 else deep))}
        adjective = list(features)[rng.integers(len(features))]
        petal = replace(petal, **features[adjective])
    return Species(
        f"{adjective} {GENERA[genus]}{noun}", petal, **form,
        dot=Blade((mix(disc, deep, 0.3), disc, mix(disc, pale, 0.3)), 0.5, camber=0.8, shadow=0.0),
        stamen=Blade((mix(colour, pale, 0.7), mix(colour, pale, 0.7), disc), 0.045, 1.8, 0.3),
        stem=Blade((mix(green, (0.6, 0.5, 0.2), 0.2),) * 3, 0.016, 0.02, 0.02),
        leaf=Blade((green, mix(green, pale, 0.12), green), rng.uniform(0.12, 0.4), rng.uniform(0.4, 1),
                   rng.uniform(0.7, 1.1), -0.2, 0.4, fringe=rng.choice((0.0, 0.0, 0.15)).item(), veins=0.4))


def class_names() -> list[str]:
    """A made-up name for each species; its first word says what sets it apart within its genus."""
    return [species(k).name for k in range(CLASSES)]


def flower(rng: np.random.Generator, kind: Species, size: int, centre: np.ndarray, radius: float,
           light: np.ndarray, soft: float, tone: np.ndarray) -> list[tuple]:
    """Patches of one flower, or of a head of F florets, of the given radius around centre (3,)."""
    tilt = kind.tilt + rng.normal(0, 0.4 if kind.florets == 1 else 0.25)
    turn = rng.normal(0, 0.3) if kind.tilt else rng.uniform(-np.pi, np.pi)
    axis = np.array([np.sin(tilt) * np.sin(turn), np.sin(tilt) * np.cos(turn), np.cos(tilt)])
    place, axes, scale, patches = centre[None], axis[None], np.array([radius]), []  # (F, 3), (F, 3), (F,)
    if kind.florets > 1:  # on an ellipsoid, as a sunflower has its seeds
        height = np.linspace(0.99, -0.8, kind.florets)[:, None]  # (F, 1)
        around = GOLDEN * np.arange(kind.florets)[:, None] + turn
        sideways = unit(np.cross(axis, DOWN[::-1]))
        ring = np.cos(around) * sideways + np.sin(around) * np.cross(axis, sideways)
        outward = np.sqrt(1 - height**2) * ring + height * axis  # (F, 3)
        head = radius / (1 + 3.2 / kind.florets**0.5) / kind.stretch**0.5
        stalks = head * (outward + (kind.stretch - 1) * height * axis)
        seen = outward[:, 2] > -0.35
        place = (centre + stalks - 0.3 * kind.droop * head * DOWN)[seen]
        axes = unit(outward + kind.droop * DOWN + 0.15 * rng.normal(size=outward.shape))[seen]
        taper = (1 - 0.12 * kind.stretch * height[:, 0]) * rng.uniform(0.85, 1.2, kind.florets)
        scale = (head * 3.5 / kind.florets**0.5 * taper)[seen]
        if kind.florets < 9:  # each on a stalk
            blade, starts, ways = replace(kind.stem, width=0.04), centre + 0 * stalks, stalks
            length = np.linalg.norm(stalks, axis=1)
        else:  # a green core fills what the florets leave open
            blade = replace(kind.leaf, width=0.5 / kind.stretch, base=0.5, tip=0.5, fringe=0.0, bend=0.0)
            ways, length = unit(axis * (1, 1, 0) - 0.01 * DOWN)[None], np.array([2 * head * kind.stretch])
            starts = centre - 0.5 * length * ways - (0, 0, 1)
        patches = project(size, blade, starts, unit(ways), unit(np.cross((0.1, 0.1, 1), ways)), length,
                          light, soft, tones(rng, len(ways), 0.1))
    down = unit(DOWN - (axes @ DOWN)[:, None] * axes)[:, None]  # (F, 1, 3), and so is right: a floret's plane
    right = np.cross(axes[:, None], down)
    roll = (0.15 if kind.lip else np.pi) * rng.uniform(-1, 1, (len(place), 1))

    def whorl(blade: Blade, angle, rise, reach, out, up) -> list[tuple]:
        """Patches of N blades a floret: angle (N,) in its plane, rise from it, start out and up of it."""
        shape = (len(place), len(angle))
        angle = (angle + roll + 0.06 * rng.normal(size=shape))[..., None]  # (F, N, 1)
        rise, twist = rise + 0.09 * rng.normal(size=(*shape, 1)), 0.15 * rng.normal(size=(*shape, 1))
        outward = np.cos(angle) * down + np.sin(angle) * right  # (F, N, 3)
        across = np.cos(angle) * right - np.sin(angle) * down
        along = np.cos(rise) * outward + np.sin(rise) * axes[:, None]
        across = np.cos(twist) * across + np.sin(twist) * np.cross(along, across)
        length = reach * scale[:, None] * (1 + kind.lip * np.cos(angle[..., 0]))
        length = length * (1 + 0.06 * rng.normal(size=shape))
        offset = np.reshape(out, (-1, 1)) * outward + np.reshape(up, (-1, 1)) * axes[:, None]
        base = place[:, None] + scale[:, None, None] * offset
        flat = (vectors.reshape(-1, 3) for vectors in (base, along, across))  # (F, N, 3) -> (P, 3)
        return project(size, blade, *flat, length.ravel(), light, soft, tone * tones(rng, length.size, 0.08))

    for layer in range(kind.layers):
        rise = kind.opening + (1.25 - kind.opening) * layer / max(kind.layers, 5)
        angle = 2 * np.pi * (np.arange(kind.petals) + 0.5 * layer) / kind.petals
        patches += whorl(kind.petal, angle, rise, 1 - 0.14 * layer, 0.5 * kind.centre, 0.04 * layer)
    dots = 36 // kind.florets or 1
    share = np.sqrt(np.arange(dots) / dots)  # of the way from the middle to the rim
    length = 1.6 * kind.centre * (2 / dots**0.5 if dots > 1 else 1)
    out, up = kind.centre * share - length / 2, 0.6 * kind.centre * np.sqrt(1.05 - share**2)  # a dome
    patches += whorl(kind.dot, GOLDEN * np.arange(dots), 0.0, length, out, up)
    if kind.stamens:
        patches += whorl(kind.stamen, GOLDEN * np.arange(kind.stamens), 1.0, 0.42, 0.3 * kind.centre, 0.0)
    return patches
