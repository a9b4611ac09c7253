"""The 102 made-up species of the built-in data set: what each one's flowers look like, its name, a flower."""

import json
from colorsys import hls_to_rgb
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from flowers.blades import DOWN, Blade, mix, project, tones, unit

CLASSES = 102
SEED = 102
# colours, forms (values of fields, or the range that each genus draws from) and genera, read once
tables = cache(lambda: json.loads(Path(__file__).with_name("species.json").read_text()))
GOLDEN = np.pi * (3 - 5**0.5)  # the angle between successive seeds of a sunflower


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


@cache
def species(k: int) -> Species:
    """Species k in 0..101: three a genus, the second of another colour, the third with a feature."""
    genus, sibling = divmod(k, 3)
    rng = np.random.default_rng((SEED, genus))
    colours, forms, genera = tables().values()
    noun = list(forms)[genus % len(forms)]
    form = {field: value if not isinstance(value, list) else
            int(rng.integers(value[0], value[1] + 1)) if isinstance(value[0], int) else rng.uniform(*value)
            for field, value in forms[noun].items()}
    adjective = list(colours)[rng.permutation(len(colours))[sibling % 2]]
    colour, pale = hls_to_rgb(*colours[adjective]), (0.97, 0.94, 0.83)
    green = hls_to_rgb(*rng.uniform((0.22, 0.26, 0.3), (0.34, 0.4, 0.5)))
    deep = mix(colour, (0.15, 0.0, 0.1), 0.6)
    disc = hls_to_rgb(rng.uniform(0.05, 0.15), *((0.16, 0.5), (0.5, 0.9))[rng.integers(2)])  # brown or golden
    disc = mix(colour, deep, 0.4) if noun in ("rose", "crown") else disc
    throat = mix(colour, (deep, pale, (1.0, 0.75, 0.1), (0.4, 0.55, 0.15))[rng.integers(4)], 0.6)
    outline = dict(camber=rng.uniform(0.1, 0.5), base=rng.uniform(0.35, 0.9), veins=rng.uniform(0, 0.4),
                   notch=rng.choice((0.0, 0.0, 0.12)).item())
    outline |= {field: form.pop(field) for field in form.keys() & Blade.__annotations__}
    petal = Blade((throat, colour, mix(colour, pale, rng.uniform(0, 0.4))), **outline)
    if sibling == 2:
        features = {
            "spotted": dict(spots=0.75), "striped": dict(veins=1.2), "fringed": dict(fringe=0.2),
            "slender": dict(width=0.62 * petal.width), "dark-eyed": dict(colours=(deep, colour, colour)),
            "edged": dict(edge=1.0, colours=(throat, colour, pale if sum(colour) < 1.9 else deep))}
        adjective = list(features)[rng.integers(len(features))]
        petal = replace(petal, **features[adjective])
    return Species(
        f"{adjective} {genera[genus]}{noun}", petal, **form,
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
        wobble = rng.normal(size=(4, len(place), len(angle), 1))  # no two blades of a flower are quite alike
        angle = (angle + roll)[..., None] + 0.06 * wobble[0]  # (F, N, 1)
        rise, twist = rise + 0.09 * wobble[1], 0.15 * wobble[2]
        outward = np.cos(angle) * down + np.sin(angle) * right  # (F, N, 3)
        across = np.cos(angle) * right - np.sin(angle) * down
        along = np.cos(rise) * outward + np.sin(rise) * axes[:, None]
        across = np.cos(twist) * across + np.sin(twist) * np.cross(along, across)
        length = reach * scale[:, None, None] * (1 + kind.lip * np.cos(angle)) * (1 + 0.06 * wobble[3])
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
