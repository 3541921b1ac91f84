"""How near restored pictures are: closed forms, scikit-image's SSIM by hand, published floors."""

import numpy as np
import pytest
from PIL import Image

from ms_gan.evaluation import restoration
from ms_gan.objectives.resize import bicubic_matrix, enlarged
from tests.tiny import real


def test_psnr_of_a_known_error():
    one = np.zeros((4, 4))
    assert restoration.psnr(one, one + 1) == pytest.approx(20 * np.log10(255))
    assert restoration.psnr(one, one) == float("inf")
    where = np.zeros((4, 4), bool)
    where[0] = True
    other = np.full((4, 4), 255.0)
    other[0] = 51.0  # a fifth
    assert restoration.psnr(one, other, where=where) == pytest.approx(20 * np.log10(5))
    np.testing.assert_allclose(
        restoration.psnrs(np.stack([one, one]), np.stack([one + 1, one + 51])),
        [20 * np.log10(255), 20 * np.log10(5)],
    )


def test_brightness_of_black_white_and_the_primaries():
    corners = np.array([[-1, -1, -1], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
    y = restoration.brightness(corners.reshape(5, 3, 1, 1)).ravel()
    np.testing.assert_allclose(y, [16, 235, 81.481, 144.553, 40.966], atol=1e-9)  # BT.601
    grey = restoration.brightness(corners[:2, :1].reshape(2, 1, 1, 1)).ravel()
    np.testing.assert_allclose(grey, [16, 235])
    assert restoration.brightness(np.zeros((1, 1, 8, 9)), border=2).shape == (1, 4, 5)


def test_ssim_against_its_definition(rng):
    """Every window by itself, as Eq. 13 says it."""
    one = rng.uniform(0, 255, (2, 13, 12))
    other = np.clip(one + rng.normal(0, 30, one.shape), 0, 255)
    x = np.arange(11) - 5.0
    window = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = []
    for a, b in zip(one, other, strict=True):
        values = []
        for i in range(3):
            for j in range(2):
                p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                both = (window * (p - mp) * (q - mq)).sum()
                values.append(
                    (2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
                )
        expected.append(np.mean(values))
    np.testing.assert_allclose(restoration.ssim(one, other), expected, rtol=1e-9)
    np.testing.assert_allclose(restoration.ssim(one, one), 1.0)


def test_fine_energy_sees_what_blurring_takes_away():
    waves = {period: np.cos(2 * np.pi * np.arange(32) / period) for period in (2.0, 8.0)}
    fine, coarse = (np.tile(waves[period], (1, 32, 1)) for period in (2.0, 8.0))
    assert restoration.fine_energy(coarse) == pytest.approx(0.0, abs=1e-9)
    # Parseval: all its energy, the sum of squares times the pixels, over the pixels
    assert restoration.fine_energy(fine) == pytest.approx((fine**2).sum())
    assert restoration.fine_energy(np.concatenate([fine, coarse])) == pytest.approx(
        (fine**2).sum() / 2
    )


def test_laplace_gives_back_what_is_smooth_and_leaves_what_is_known():
    rows, columns = np.mgrid[:12, :12] / 12.0
    image = (0.5 * rows - 0.3 * columns).reshape(1, 1, 12, 12)  # harmonic
    mask = np.zeros((1, 1, 12, 12))
    mask[..., 3:9, 4:10] = 1
    filled = restoration.laplace(image, mask)
    np.testing.assert_allclose(filled, image, atol=1e-3)
    known = mask == 0
    np.testing.assert_array_equal(filled[known], image[known])


def test_the_nearest_image_by_what_is_known_fills_the_hole(rng):
    known = rng.uniform(-1, 1, (7, 1, 6, 6)).astype(np.float32)
    mask = np.zeros((2, 1, 6, 6), np.float32)
    mask[..., 1:4, 2:5] = 1
    images = known[[5, 2]] + 0.01
    images[mask == 1] = 9.0  # what lies in the hole must not matter
    filled = restoration.nearest_fill(images, mask, known)
    np.testing.assert_array_equal(filled[mask == 1], known[[5, 2]][mask == 1])
    np.testing.assert_array_equal(filled[mask == 0], images[mask == 0])


def test_a_linear_map_of_colours_is_found_again(rng):
    source = rng.uniform(-1, 1, (3, 3, 4, 4))
    true = np.array([[0.5, 0.1], [0.2, -0.3], [0.0, 0.2], [0.05, -0.1]])
    target = np.einsum("nchw,cd->ndhw", source, true[:3]) + true[3].reshape(1, 2, 1, 1)
    found_map = restoration.colour_map(source, target)
    np.testing.assert_allclose(found_map, true, atol=1e-9)
    np.testing.assert_allclose(restoration.mapped(source, found_map), target, atol=1e-9)


@pytest.mark.parametrize(("scale", "psnr", "ssim"), [(2, 33.67, 0.930), (4, 28.43, 0.811)])
def test_bicubic_enlargement_of_set5_is_as_published(scale, psnr, ssim):
    """The floor of super-resolution: the protocol is that of the papers."""
    pictures = sorted(real("sr/set5").glob("*.png"))
    assert len(pictures) == 5
    values = []
    for path in pictures:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
            wide, tall = (side - side % scale for side in picture.size)
            true = picture.crop((0, 0, wide, tall))
        small = true.resize((wide // scale, tall // scale), Image.Resampling.BICUBIC)
        true, small = (
            np.asarray(x, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1 for x in (true, small)
        )
        one, other = (
            restoration.brightness(x, scale) for x in (enlarged(small, (tall, wide)), true)
        )
        values.append((restoration.psnrs(one, other)[0], restoration.ssim(one, other)[0]))
    measured = np.mean(values, axis=0)
    assert measured[0] == pytest.approx(psnr, abs=0.03)
    assert measured[1] == pytest.approx(ssim, abs=0.002)


def test_the_matrix_of_pillow(rng):
    """One line of pixels through Pillow's float mode."""
    line = rng.uniform(0, 255, (1, 24)).astype(np.float32)
    for wanted in (12, 6, 48):
        by_pillow = np.asarray(
            Image.fromarray(line, mode="F").resize((wanted, 1), Image.Resampling.BICUBIC)
        )
        np.testing.assert_allclose(line @ bicubic_matrix(24, wanted).T, by_pillow, atol=1e-3)
