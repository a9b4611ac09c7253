"""One shape for all that grows: a curved blade in space, lit, projected and painted from back to front.

Petals, leaves, stems, stamens, the dots of a centre, grass and bokeh differ in its parameters alone. x runs
right, y down, z towards the viewer; a picture is 1 wide. P: blades, M: pixels a side of each one's window.
"""

from colorsys import hls_to_rgb
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

Colour = tuple[float, float, float]
BACK = 50  # pixels a side of the background, which is out of focus: interpolated to any size
DOWN = np.array([0.01, 1.0, 0.02])  # not quite, so that no blade runs exactly along it


@dataclass(frozen=True)
class Blade:
    """Lengths are shares of the blade's own length, or of its width where that is said."""
    colours: tuple[Colour, Colour, Colour]  # at base, middle and tip
    width: float  # half of it
    base: float = 0.5  # exponent of the outline: 0 as wide as anywhere, 0.5 round, 2 a claw
    tip: float = 0.5  # 0 blunt, 0.5 round, 1 pointed
    bend: float = 0.0  # of the midrib, towards the normal
    camber: float = 0.3  # of the cross-section, towards the normal
    notch: float = 0.0  # depth of one in the middle of the tip
    fringe: float = 0.0  # depth of teeth
    edge: float = 0.0  # 1: the tip's colour follows the edge
    veins: float = 0.0
    spots: float = 0.0
    opacity: float = 1.0
    shadow: float = 0.2  # on what lies behind


def mix(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(x + (y - x) * share for x, y in zip(a, b))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((vector**2).sum(-1, keepdims=True))


def smooth(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, without a corner between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def float32(array: np.ndarray) -> np.ndarray:
    """(...) -> (..., 1, 1): one number for each blade, against the (M, M) pixels of its window."""
    return array.astype(np.float32)[..., None, None]


def project(size: int, blade: Blade, base: np.ndarray, along: np.ndarray, across: np.ndarray,
            length: np.ndarray, light: np.ndarray, soft: float, tone: np.ndarray) -> list[tuple]:
    """Blades -> one patch each, for paint: (depth, row, column, alpha (M, M), shade (M, M), rgb (3, M, M)).

    base, unit vectors along the midrib and across, tone, a factor of rgb: (P, 3); length (P,); soft: width of
    the outline, a ramp, so that another processor's rounding shifts a colour by less than a grey level.
    """
    # what points at the viewer is tilted aside, what is seen edge-on twisted: each shows some of its area
    seen = np.sqrt((along[:, :2]**2).sum(1, keepdims=True))  # (P, 1)
    shown = np.clip(seen, 0.4, 1)
    along = np.concatenate([along[:, :2] * shown / seen, np.sign(along[:, 2:]) * np.sqrt(1 - shown**2)], 1)
    level = unit(np.cross((0, 0, 1), along))  # (P, 3), and so is steep
    steep = np.cross(along, level)
    cosine, sine = (across * level).sum(1, keepdims=True), (across * steep).sum(1, keepdims=True)  # (P, 1)
    cosine = np.copysign(np.clip(np.abs(cosine), 0.45, 1), cosine)
    across = cosine * level + np.copysign(np.sqrt(1 - cosine**2), sine) * steep
    normal = np.cross(along, across)
    # the pixels of a window around each blade, moved inside the picture where it crosses the border
    middle = base + 0.5 * length[:, None] * (along + blade.bend * normal)
    rise = 0.5 * abs(blade.bend) + abs(blade.camber) * blade.width**2
    extent = np.abs(0.5 * along) + np.abs(blade.width * across) + np.abs(rise * normal) + 0.04
    reach = length[:, None] * extent[:, :2]
    side = min(size, int(2 * size * (reach.max() + soft + 0.01)) + 2)
    start = np.clip(np.floor(middle[:, :2] * size - side / 2), 0, size - side).astype(int)  # (P, 2)
    pixels = ((start[:, :, None] + np.arange(side) + 0.5) / size - base[:, :2, None]).astype(np.float32)
    x, y = pixels[:, 0, None, :], pixels[:, 1, :, None]  # (P, 1, M), (P, M, 1)
    # pixel -> place on the blade, s along and v across: first on a flat one, then twice nearer to the curved
    (ax, ay, az), (cx, cy, cz), (nx, ny, nz) = (float32(v.T) for v in (along, across, normal))  # (P, 1, 1)
    span = float32(length)
    s0, v0 = (x * cy - y * cx) / (nz * span), (ax * y - ay * x) / (nz * span)  # (P, M, M)
    shift_s, shift_v = (np.clip(shift / nz, -1.2, 1.2) for shift in (nx * cy - ny * cx, ax * ny - ay * nx))
    s, v = s0, v0
    for _ in range(2):
        lift = blade.bend * np.clip(s, 0, 1)**2 + blade.camber * np.clip(v, -blade.width, blade.width)**2
        s, v = s0 - shift_s * lift, v0 - shift_v * lift
    # the outline
    turn = float32(2.4 * np.arange(len(base)))  # so that no two blades have the same teeth, spots and folds
    s = s / (1 - blade.notch / (1 + (v * (4 / blade.width))**2))
    if blade.fringe:
        s = s / (1 - blade.fringe * (0.5 + 0.5 * np.cos(v * (14 / blade.width) + turn)))
    inside = np.clip(s, 1e-4, 1 - 1e-4)
    peak = blade.base / (blade.base + blade.tip)  # where it is widest
    scale = blade.width / (peak**blade.base * (1 - peak)**blade.tip)
    width = scale * inside**blade.base * (1 - inside)**blade.tip
    distance = np.minimum(width - np.abs(v), np.minimum(s, 1 - s)) * span  # to the outline, in picture widths
    alpha = blade.opacity * np.clip(distance / soft + 0.5, 0, 1)
    shade = 1 - blade.shadow * np.clip(distance / (0.03 + soft) + 1, 0, 1)
    # light, which also shines through from the other side, then veins, spots and the three colours
    q = np.clip(v / (width + 1e-3), -1, 1)  # -1 and 1 at the edges
    fold = 0.12 * np.cos(7 * s + 3 * q + turn)
    slope_s, slope_v = fold - 2 * blade.bend * inside, -(2 * blade.camber * blade.width + 0.3) * q
    lx, ly, lz = map(float, light)
    cosine = (nx * lx + ny * ly + nz * lz) + slope_s * (ax * lx + ay * ly + az * lz)
    cosine += slope_v * (cx * lx + cy * ly + cz * lz)
    glow = 0.6 + 0.48 * cosine / np.sqrt(1 + slope_s**2 + slope_v**2) * (1 - 1.8 * np.float32(nz < 0))
    if blade.veins:
        glow *= 1 - blade.veins * (0.17 + 0.17 * np.cos(q * 15) + 0.25 * np.clip(1 - 9 * np.abs(q), 0, 1))
    if blade.spots:
        dots = np.sin(27 * s + turn) * np.sin(7 * v / blade.width + 3 * np.sin(9 * s) + turn)
        glow *= 1 - blade.spots * smooth(3 * dots - 0.6) * smooth(3 - 4 * s)
    to_tip = np.maximum(smooth(2 * inside - 1), smooth(blade.edge * 4 * (np.abs(q) - 0.6)))
    to_base = (1 - to_tip) * smooth(1 - 2 * inside)
    at_base, at_middle, at_tip = float32(np.array(blade.colours))  # (3, 1, 1)
    rgb = at_middle + to_base[:, None] * (at_base - at_middle) + to_tip[:, None] * (at_tip - at_middle)
    rgb *= float32(tone) * glow[:, None]  # (P, 3, M, M)
    return list(zip(middle[:, 2], start[:, 1], start[:, 0], alpha, shade, rgb))


def tones(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    """Factors of the colours of blades that are alike, and yet not the same."""
    return 1 + spread * (rng.uniform(-1, 1, (count, 1)) + 0.3 * rng.uniform(-1, 1, (count, 3)))  # (count, 3)


def strewn(rng: np.random.Generator, size: int, blade: Blade, count: int, length: tuple, upright: float,
           soft: float, light: np.ndarray) -> list[tuple]:
    """Patches of leaves, grass or discs all over the picture; length: range; upright: 0 to lie anyhow."""
    base = rng.uniform((-0.1, -0.1, -1), (1.1, 1.1, 0), (count, 3))
    along = unit(rng.normal(size=(count, 3)) * (1, 1, 0.5) - upright * DOWN)
    across = unit(np.cross(rng.normal(size=(count, 3)) * 0.5 + (0, 0, 1), along))
    return project(size, blade, base, along, across, rng.uniform(*length, count), light, soft,
                   tones(rng, count, 0.3))


@lru_cache(64)
def spread(size: int, cells: int) -> np.ndarray:
    """(size, cells): weights that turn a row of cells into a smooth row of pixels."""
    weights = np.exp(-2 * ((np.arange(size)[:, None] + 0.5) / size * cells - np.arange(cells) - 0.5)**2)
    return weights / weights.sum(1, keepdims=True)


def noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size), mostly in 0..1, with features of 1 / cells of the picture."""
    return spread(size, cells) @ rng.uniform(-0.3, 1.3, (cells, cells)) @ spread(size, cells).T


def paint(canvas: np.ndarray, patches: list[tuple]) -> None:
    """Lay patches on the canvas (3, H, W), the farthest first; each shades what lies under and around it."""
    for _, row, column, alpha, shade, rgb in sorted(patches, key=lambda patch: patch[0]):
        window = canvas[:, row:row + len(alpha), column:column + len(alpha)]
        window *= shade
        window += alpha * (rgb - window)


def background(rng: np.random.Generator, light: np.ndarray) -> tuple[np.ndarray, float]:
    """What lies behind, out of focus (3, BACK, BACK), and how grainy it is."""
    hue = rng.uniform(0.2, 0.34)
    scenes = {  # hue, lightness and saturation of the dark and of the pale colour; grain
        "soil": ((0.07, 0.14, 0.35), (0.09, 0.42, 0.3), 0.6),
        "leaves": ((hue, 0.1, 0.4), (hue, 0.32, 0.4), 0.1),
        "lawn": ((hue, 0.15, 0.45), (hue - 0.04, 0.45, 0.4), 0.3),
        "sky": ((0.6, 0.5, 0.5), (0.57, 0.8, 0.6), 0.0),
        "bokeh": ((hue, 0.12, 0.4), (hue - 0.06, 0.5, 0.35), 0.0),
        "wall": ((0.1, 0.35, 0.1), (0.1, 0.68, 0.12), 0.2),
        "darkness": ((hue, 0.02, 0.3), (hue, 0.1, 0.3), 0.0)}
    scene, (dark, pale, grain) = list(scenes.items())[rng.integers(len(scenes))]
    dark, pale = hls_to_rgb(*dark), hls_to_rgb(*pale)
    slope = np.linspace(-0.4, 0.4, BACK)[:, None] * rng.uniform(-1, 1)
    blend = np.clip(0.6 * noise(rng, BACK, 4) + 0.4 * noise(rng, BACK, 9) + slope, 0, 1)
    canvas = np.array(dark)[:, None, None] + blend * np.subtract(pale, dark)[:, None, None]  # (3, BACK, BACK)
    colours = dark, mix(dark, pale, rng.uniform(0.4, 0.9)), pale
    leaf = Blade(colours, rng.uniform(0.2, 0.4), 0.6, 0.9, -0.2, 0.5, veins=0.5)
    if scene == "leaves":
        paint(canvas, strewn(rng, BACK, leaf, 14, (0.2, 0.5), 0, rng.uniform(0.02, 0.08), light))
    if scene == "lawn":
        grass = replace(leaf, width=0.03, base=0.2, tip=0.7, bend=rng.uniform(-0.3, 0.3))
        paint(canvas, strewn(rng, BACK, grass, 16, (0.4, 0.9), 2.5, 0.02, light))
    if scene == "bokeh":
        disc = Blade((pale, pale, mix(pale, (1, 1, 0.8), 0.4)), 0.5, camber=0.0, opacity=0.4, shadow=0.0)
        paint(canvas, strewn(rng, BACK, disc, 12, (0.08, 0.3), 0, 0.02, light))
    return canvas, grain
