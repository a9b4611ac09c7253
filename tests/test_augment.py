"""Guards augmentation: torchvision's geometry and colours, CutMix's areas, draws that no device changes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

import augment
import data
from augment import Draws
from flowers import synthetic
from study import sheet
from support import machine
from support.errors import UserError

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
on_each_device = pytest.mark.parametrize("device", DEVICES)
SIDE = 176


def waves() -> torch.Tensor:
    """Smooth colours, uint8 (2, 3, SIDE, SIDE)."""
    row, column = torch.meshgrid(*[torch.linspace(0, 1, SIDE)] * 2, indexing="ij")
    phase = torch.tensor([[0.0, 1, 2], [4, 3, 1]])[:, :, None, None]
    return (127 + 100 * torch.sin(7 * row + 4 * column**2 + phase)).byte()


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    """uint8 (5, 3, SIDE, SIDE): two smooth ones and three drawn flowers."""
    drawn = np.stack([synthetic.draw(k, "train", 0, SIDE) for k in (3, 50, 90)])
    return torch.cat([waves(), torch.from_numpy(drawn).permute(0, 3, 1, 2)])


def crop(count, area=1.0, aspect=1.0, row=0.5, column=0.5, degrees=0.0, mirror=0) -> torch.Tensor:
    """The same crop for each of `count` images."""
    values = torch.tensor([area, aspect, row, column, degrees, mirror])
    return augment.crop_matrix(*values.expand(count, 6).T)


def colours(photos, brightness=1.0, contrast=1.0, saturation=1.0, turn=0.0) -> torch.Tensor:
    """The photos changed in colour alone, at their own size."""
    values = torch.tensor([brightness, contrast, saturation, turn]).expand(len(photos), 4)
    return augment.augment(photos, Draws(crop(len(photos)), augment.colour_matrix(*values.T)), SIDE)


def small(photos) -> torch.Tensor:
    return tv.resize(photos.float() / 255, [100, 100], antialias=True)


def apart(ours, theirs) -> float:
    """The mean difference, in grey levels."""
    return (ours - theirs).abs().mean().item() * 255


def epoch(count=4096, batch_size=64, seed=0, **flags) -> list[Draws]:
    generator = torch.Generator().manual_seed(seed)
    return augment.draw(data.batches(count, batch_size, generator), generator, **flags)


# geometry

@pytest.mark.parametrize("top,left,height,width", (
    (0, 0, 176, 176), (30, 50, 100, 100), (0, 60, 80, 80), (96, 0, 80, 100), (60, 40, 116, 90)))
def test_a_crop_is_torchvisions(photos, top, left, height, width):
    row, column = (place / max(1, SIDE - side) for place, side in ((top, height), (left, width)))
    x = augment.augment(photos, Draws(crop(5, height * width / SIDE**2, width / height, row, column)))
    theirs = tv.resized_crop(photos.float() / 255, top, left, height, width, [100, 100], antialias=True)
    assert x.shape == (5, 3, 100, 100) and apart(x, theirs) < 2


@pytest.mark.parametrize("degrees", (-45, -20, 10, 30, 45))
def test_a_turn_is_torchvisions_with_a_reflected_border(photos, degrees):
    x = augment.augment(photos, Draws(crop(5, degrees=degrees)))
    padded = tv.pad(photos.float() / 255, [SIDE // 2] * 4, padding_mode="symmetric")
    theirs = tv.rotate(padded, degrees, InterpolationMode.BILINEAR)
    theirs = tv.resize(tv.center_crop(theirs, [SIDE, SIDE]), [100, 100], antialias=True)
    assert apart(x, theirs) < 2


def test_a_turned_crop_turns_about_its_own_centre(photos):
    x = augment.augment(photos, Draws(crop(5, area=0.25, row=0.4, column=0.6, degrees=30)))
    top, left = 35 - 22, 53 - 22  # of a window around the crop that holds its turned corners
    window = photos[:, :, top:top + 132, left:left + 132].float() / 255
    turned = tv.rotate(window, 30, InterpolationMode.BILINEAR)
    theirs = tv.resize(tv.center_crop(turned, [88, 88]), [100, 100], antialias=True)
    assert apart(x, theirs) < 2


def test_a_mirrored_crop_is_the_crop_mirrored(photos):
    plain, mirrored = (augment.augment(photos, Draws(crop(5, 0.5, 1.2, 0.1, 0.8, 25, mirror)))
                       for mirror in (0, 1))
    torch.testing.assert_close(mirrored, tv.horizontal_flip(plain), rtol=0, atol=1e-4)


def test_a_side_longer_than_the_square_is_cut_to_it():
    matrix = crop(1, area=0.9, aspect=1.3)[0]
    assert matrix[0, 0] == 1 and matrix[1, 1].item() == pytest.approx(math.sqrt(0.9 / 1.3))
    assert crop(1, area=0.9, aspect=1 / 1.3)[0, 1, 1] == 1


def test_the_finest_stripes_do_not_alias():
    stripes = (torch.arange(SIDE) % 2 * 255).byte().expand(1, 3, SIDE, SIDE)
    x = augment.augment(stripes, Draws(crop(1)))
    coarse = F.interpolate(stripes.float() / 255, (100, 100), mode="bilinear")
    assert x.std() < coarse.std() / 3


# colour

@pytest.mark.parametrize("factor", (0.6, 0.9, 1.4))
@pytest.mark.parametrize("kind", ("brightness", "contrast", "saturation"))
def test_a_factor_is_torchvisions(photos, kind, factor):
    theirs = getattr(tv, f"adjust_{kind}")(photos.float() / 255, factor)
    assert apart(colours(photos, **{kind: factor}), theirs) < 0.1


def test_factors_follow_in_torchvisions_order_brightness_contrast_saturation(photos):
    dim = (photos // 2 + 40).float() / 255  # not clamped on the way
    theirs = tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(dim, 0.7), 1.3), 1.2)
    assert apart(colours(photos // 2 + 40, 0.7, 1.3, 1.2), theirs) < 0.1


def test_hue_leaves_greys_and_luminance_and_a_whole_turn_changes_nothing(photos):
    plain, dull = photos.float() / 255, (photos // 4 + 96)  # whose turned colours stay within [0, 1]
    assert apart(colours(photos, turn=1.0), plain) < 0.01
    turned = colours(dull, turn=0.2)
    assert apart(turned, dull.float() / 255) > 5
    luminance = [torch.einsum("bchw,c->bhw", x, augment.YIQ[0]) for x in (turned, dull.float() / 255)]
    torch.testing.assert_close(*luminance, rtol=0, atol=1e-5)
    grey = photos[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(colours(grey, saturation=1.3, turn=0.3), grey.float() / 255, rtol=0, atol=1e-5)


def test_hue_turns_the_way_of_torchvisions():
    for rgb in ((200, 80, 80), (80, 200, 80), (80, 80, 200)):
        flat = torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
        changes = [(x.mean((2, 3)) - flat[0, :, 0, 0] / 255) @ augment.YIQ[1:].T  # of I and Q
                   for x in (colours(flat, turn=0.03), tv.adjust_hue(flat.float() / 255, 0.03))]
        assert F.cosine_similarity(*changes) > 0.5


def test_a_photo_is_cropped_before_its_mean_grey_is_taken(photos):
    place = crop(5, area=0.3, row=0.0, column=1.0)
    contrast = augment.colour_matrix(*torch.tensor([1, 0.6, 1, 0]).expand(5, 4).T)
    x = augment.augment(photos, Draws(place, contrast))
    assert apart(x, tv.adjust_contrast(augment.augment(photos, Draws(place)), 0.6)) < 0.1


# CutMix

def mixed(batch=64, size=100, seed=0):
    """Pictures that each have a value of their own, their draws, and what CutMix makes of them."""
    (draws,) = epoch(batch, batch, seed)
    x = torch.arange(1.0, batch + 1).view(-1, 1, 1, 1).repeat(1, 3, size, size)
    return x, draws, *augment.cutmix(x, draws)


def test_cutmix_takes_the_partners_pixels_in_a_box_whose_area_is_told_exactly():
    x, draws, y, share = mixed()
    own, partners = y == x, y == x[draws.partner]
    assert (own | partners).all() and share.shape == (64,) and (own == own[:, :1]).all()
    other = draws.partner != torch.arange(64)
    inside = ~own[other, 0]  # (B', 100, 100)
    assert torch.equal(share[other], 1 - inside.float().mean((1, 2)))
    boxes = [box for box in inside if box.any()]
    assert 20 < len(boxes) < 44 and all(len(torch.where(box.any(1))[0]) * len(torch.where(box.any(0))[0])
                                        == box.sum() for box in boxes)  # rectangles
    assert (share[draws.box[:, 2] == 0] == 1).all() and torch.equal(y[share == 1], x[share == 1])


@pytest.mark.parametrize("row,column,half,inside,share", (
    (0.25, 0.6, 0.1, (slice(15, 35), slice(50, 70)), 0.96),
    (0.0, 0.95, 0.1, (slice(0, 10), slice(85, 100)), 0.985),
    (0.5, 0.5, 0.5, (slice(0, 100), slice(0, 100)), 0.0)))
def test_a_box_lies_about_its_centre_clipped_to_the_picture(row, column, half, inside, share):
    x = torch.stack([torch.zeros(3, 100, 100), torch.ones(3, 100, 100)])
    box = torch.tensor([[row, column, half], [row, column, 0]])
    y, shares = augment.cutmix(x, Draws(None, None, box, torch.tensor([1, 0])))
    expected = torch.zeros(3, 100, 100)
    expected[:, inside[0], inside[1]] = 1
    assert torch.equal(y[0], expected) and torch.equal(y[1], x[1])
    torch.testing.assert_close(shares, torch.tensor([share, 1.0]))


def test_a_box_has_the_area_of_one_less_lambda_where_it_is_not_clipped():
    (draws,) = epoch(512, 512)
    centre, half = draws.box[:, :2], draws.box[:, 2:]
    within = ((centre - half).amin(1) >= 0) & ((centre + half).amax(1) <= 1) & (half[:, 0] > 0)
    share = augment.cutmix(torch.zeros(512, 3, 100, 100), draws)[1]
    assert within.sum() > 20 and (share - (1 - 4 * draws.box[:, 2]**2))[within].abs().max() < 0.03
    assert (share >= 1 - 4 * draws.box[:, 2]**2 - 0.03).all()  # clipping leaves more of its own


def test_lambda_is_uniform_for_half_of_the_images():
    box = torch.cat([draws.box for draws in epoch()])
    area = 4 * box[:, 2]**2
    assert abs((area > 0).float().mean() - 0.5) < 0.03
    quartiles = area[area > 0].quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(quartiles, torch.tensor([0.25, 0.5, 0.75]), rtol=0, atol=0.04)


def test_partners_are_a_permutation_of_each_batch():
    for draws in epoch(1000, 64):
        assert torch.equal(draws.partner.sort()[0], torch.arange(len(draws.crop)))


# draws

def test_draws_are_the_seeds_and_have_a_row_an_image():
    first, again, other = epoch(130, 64), epoch(130, 64), epoch(130, 64, seed=1)
    assert [len(rows) for rows in first[-1]] == [2] * 4 and len(first) == 3
    assert all(torch.equal(*pair) for a, b in zip(first, again) for pair in zip(a, b))
    assert not any(torch.equal(*pair) for a, b in zip(first, other) for pair in zip(a, b))
    assert epoch(129, 64)[-1].crop.shape == (65, 2, 3)


def test_draws_do_not_depend_on_how_an_epoch_is_cut_into_batches_but_for_the_partners():
    order = torch.arange(130)
    cuts = [augment.draw(order.split(size), torch.Generator().manual_seed(0)) for size in (64, 10)]
    for rows in ("crop", "colour", "box"):
        assert torch.equal(*(torch.cat([getattr(draws, rows) for draws in cut]) for cut in cuts))


@pytest.mark.parametrize("smallest", (0.2, 0.6))
def test_crops_are_within_their_ranges_and_fill_them(smallest):
    matrix = torch.cat([draws.crop for draws in epoch(smallest=smallest)])
    width, height = matrix[:, :, 0].norm(dim=1), matrix[:, :, 1].norm(dim=1)
    area, free = width * height, (width < 1) & (height < 1)
    assert area.max() <= 1 and area[free].min() >= smallest - 1e-5 and area.min() < smallest + 0.01
    aspect = (width / height).log()
    assert aspect.abs().max() <= 0.2901 and aspect.min() < -0.28 and aspect.max() > 0.28
    assert abs(area.mean() - (1 + smallest) / 2) < 0.05
    places = matrix[:, :, 2] / (1 - torch.stack([width, height], 1)).clamp(min=1e-6)
    inner = free & (width < 0.9) & (height < 0.9)
    assert places[inner].abs().max() <= 1.001 and (places[inner].std(0) - 3**-0.5).abs().max() < 0.03
    degrees = torch.atan2(-matrix[:, 0, 1], matrix[:, 1, 1]).rad2deg()
    assert degrees.abs().max() <= 45.001 and degrees.min() < -44 and degrees.max() > 44
    assert abs((matrix[:, :, :2].det() < 0).float().mean() - 0.5) < 0.03


def test_colours_are_within_their_ranges_and_fill_them():
    pixel, mean = torch.cat([draws.colour for draws in epoch()]).double().split(3, 2)
    of_pixel, of_mean = pixel.sum(2)[:, 0], mean.sum(2)[:, 0]  # brightness * contrast, the rest of brightness
    brightness = of_pixel + of_mean
    chroma = pixel / of_pixel[:, None, None]
    saturation = chroma.det().sqrt()
    for factor in (brightness, of_pixel / brightness, saturation):
        assert 0.599 < factor.min() < 0.61 and 1.39 < factor.max() < 1.401
    cosine = (chroma.diagonal(dim1=1, dim2=2).sum(1) - 1) / (2 * saturation)
    turn = cosine.clamp(max=1).acos() / (2 * torch.pi)
    assert 0.048 < turn.max() < 0.0502 and abs(turn.mean() - 0.025) < 0.001


# devices and processes

@on_each_device
def test_a_batch_comes_as_the_networks_want_it(photos, device):
    (draws,) = epoch(5, 5)
    draws = Draws(*(rows.to(device) for rows in draws))
    x = augment.augment(photos.to(device), draws)
    y, share = augment.cutmix(x, draws)
    layout = machine.memory_format(torch.device(device))
    for batch in (x, y):
        assert batch.dtype == torch.float32 and batch.shape == (5, 3, 100, 100)
        assert batch.is_contiguous(memory_format=layout) and batch.min() >= 0 and batch.max() <= 1
    assert share.dtype == torch.float32 and share.device.type == device


@on_each_device
def test_a_batch_is_the_same_on_each_device(photos, device):
    (draws,) = epoch(5, 5, seed=2)
    here, there = (augment.cutmix(augment.augment(photos.to(place), on), on)
                   for place in ("cpu", device) for on in [Draws(*(rows.to(place) for rows in draws))])
    torch.testing.assert_close(here[0], there[0].cpu(), rtol=0, atol=1e-3)
    torch.testing.assert_close(here[1], there[1].cpu(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("processes", (2, 3))
def test_processes_make_of_their_parts_what_one_makes_of_the_batch(photos, processes):
    images = photos.repeat(3, 1, 1, 1)[:12]
    (draws,) = epoch(12, 12, seed=3)
    whole, shares = augment.cutmix(augment.augment(images, draws), draws)
    for rank in range(processes):
        mine = slice(rank, None, processes)
        part = Draws(*(rows[mine] for rows in draws))
        theirs = Draws(*(rows[part.partner] for rows in draws))
        partners = augment.augment(images[part.partner], theirs)
        y, share = augment.cutmix(augment.augment(images[mine], part), part, partners)
        torch.testing.assert_close(y, whole[mine], rtol=0, atol=1e-6)
        assert torch.equal(share, shares[mine])


# views

@pytest.mark.parametrize("count", (1, 6, 14))
def test_views_come_in_mirrored_pairs_the_whole_square_first(photos, count):
    views = list(augment.views(photos, count))
    assert len(views) == count and all(view.shape == (5, 3, 100, 100) for view in views)
    assert apart(views[0], small(photos)) < 2
    for plain, mirrored in zip(views[::2], views[1::2]):
        torch.testing.assert_close(mirrored, plain.flip(3), rtol=0, atol=1e-4)
        assert not torch.equal(plain, mirrored)


def test_views_are_the_crops_that_they_say(photos):
    squares = photos[:, :, -120:, -120:]  # of which each view is a number of whole pixels
    views = list(augment.views(squares, 14))[::2]
    crops = [tv.center_crop(squares, [side, side]) for side in (120, 102, 84)]
    crops += [squares[:, :, rows, columns] for rows in (slice(96), slice(24, None))
              for columns in (slice(96), slice(24, None))]
    for view, theirs in zip(views, crops, strict=True):
        assert apart(view, small(theirs)) < 2


@on_each_device
def test_the_one_view_of_a_square_of_the_networks_size_is_the_plain_conversion(photos, device):
    squares = photos[:, :, :100, :100].to(device)
    (view,) = augment.views(squares, 1)
    torch.testing.assert_close(view, data.to_input(squares, torch.device(device)), rtol=0, atol=1e-4)


# the sheet

def test_the_sheet_is_the_only_file_written(photos, tmp_path, monkeypatch, capsys):
    from PIL import Image

    flowers = data.FlowerSet(photos, torch.zeros(5, dtype=torch.int64), ["flower"], ["0"] * 5, ["0"] * 5)
    monkeypatch.setattr(data, "load", lambda *args, **flags: flowers)
    path = tmp_path / "sheet.png"
    assert sheet.main(sheet.parse_args(["--out", str(path)])) == 0
    assert list(tmp_path.iterdir()) == [path] and f"wrote {path}: 5 photos" in capsys.readouterr().out
    with Image.open(path) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (800, 500))
        first = torch.from_numpy(np.array(drawn)[:100, :100]).permute(2, 0, 1)[None] / 255
    assert apart(first, small(photos[:1])) < 2
    with pytest.raises(UserError, match="absent"):
        sheet.main(sheet.parse_args(["--out", str(tmp_path / "absent" / "sheet.png")]))


@on_each_device
def test_pixels_keep_their_places_under_autocast(photos, device):
    photos = photos.to(device)
    (draws,) = augment.draw([torch.arange(5)], torch.Generator().manual_seed(0), device)
    plain, changed = augment.plain(photos), augment.augment(photos, draws)
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(augment.plain(photos), plain)
        assert torch.equal(augment.augment(photos, draws), changed)
