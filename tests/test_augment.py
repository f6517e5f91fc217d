"""Augmentation: values against torchvision for the same draws, and the draws themselves."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.augment import random_crop, random_flip

DTYPES = (np.float32, np.float64, np.uint8, np.float16)


def numbered(n: int, height: int, width: int, channels: int, dtype: type = np.float32) -> np.ndarray:
    """Images whose values are positive and, within an image, tell their place."""
    values = np.arange(1, height * width * channels + 1).reshape(height, width, channels)
    return np.tile(values, (n, 1, 1, 1)).astype(dtype)


def places(crops: np.ndarray, images: np.ndarray, padding: int) -> np.ndarray:
    """(N, 2): row and column at which each crop was cut out of its padded `numbered` image."""
    width, channels = images.shape[2:]
    found = []
    for crop in crops.astype(int):
        i, j = np.argwhere(crop[..., 0])[0]  # some pixel of the image itself
        row, column = divmod((crop[i, j, 0] - 1) // channels, width)
        found.append((row + padding - i, column + padding - j))
    return np.array(found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(50, 32, 32, 3), (20, 9, 12, 1), (7, 5, 8, 4)])
def test_crops_are_torchvisions(torchvision: ModuleType, shape: tuple[int, ...], dtype: type) -> None:
    functional = torchvision.transforms.functional
    *_, height, width, _ = shape
    images = np.random.default_rng(1).integers(1, 255, shape).astype(dtype)
    crops = random_crop(images, np.random.default_rng(0))
    assert crops.dtype == dtype
    offsets = places(random_crop(numbered(*shape), np.random.default_rng(0)), numbered(*shape), padding=4)
    assert len(np.unique(offsets, axis=0)) > 5
    padded = functional.pad(torch.tensor(images).permute(0, 3, 1, 2), 4)
    for crop, image, (top, left) in zip(crops, padded, offsets.tolist(), strict=True):
        expected = functional.crop(image, top, left, height, width).permute(1, 2, 0)
        np.testing.assert_array_equal(crop, expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(50, 32, 32, 3), (20, 9, 12, 1), (7, 5, 1, 4)])
def test_flips_are_torchvisions(torchvision: ModuleType, shape: tuple[int, ...], dtype: type) -> None:
    images = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    result = random_flip(images, np.random.default_rng(0))
    assert result.dtype == dtype
    marks = np.zeros((shape[0], 1, 2, 1))
    marks[:, :, 0] = 1
    flipped = random_flip(marks, np.random.default_rng(0))[:, 0, 1, 0] == 1
    assert 0 < flipped.sum() < len(flipped)
    mirrored = torchvision.transforms.functional.hflip(torch.tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(result[flipped], mirrored.numpy()[flipped])
    np.testing.assert_array_equal(result[~flipped], images[~flipped])


@pytest.mark.parametrize("padding", [1, 4])
def test_places_are_uniform_and_independent(padding: int) -> None:
    sides, n = 2 * padding + 1, 200
    images = numbered(n, 9, 9, 1)
    rng = np.random.default_rng(0)
    offsets = np.stack([places(random_crop(images, rng, padding), images, padding) for _ in range(100)])
    assert offsets.min() == 0
    assert offsets.max() == 2 * padding
    table = np.bincount((offsets @ [sides, 1]).ravel(), minlength=sides**2)
    expected = offsets.size / 2 / sides**2
    chi_squared, freedom = np.sum((table - expected) ** 2 / expected), sides**2 - 1
    assert chi_squared < freedom + 4 * np.sqrt(2 * freedom)
    # Neighbours in the batch and an image's next draw agree as often as chance has it.
    for again in (offsets[:, 1:] == offsets[:, :-1], offsets[1:] == offsets[:-1]):
        same = again.all(-1)
        assert abs(same.mean() - 1 / sides**2) < 4 * np.sqrt(1 / sides**2 / same.size)


def test_flips_are_fair_and_independent() -> None:
    images = np.zeros((200, 1, 2, 1))
    images[:, :, 0] = 1
    rng = np.random.default_rng(0)
    flipped = np.stack([random_flip(images, rng)[:, 0, 1, 0] for _ in range(200)])
    assert set(np.unique(flipped)) == {0, 1}
    for share in (flipped, flipped[:, 1:] == flipped[:, :-1], flipped[1:] == flipped[:-1]):
        assert abs(np.mean(share) - 0.5) < 4 * 0.5 / np.sqrt(np.size(share))


@pytest.mark.parametrize("change", [random_crop, random_flip])
def test_draws_come_from_the_generator_alone(change: Callable) -> None:
    images = np.random.default_rng(1).standard_normal((30, 8, 8, 3)).astype(np.float32)
    before = images.copy()
    images.flags.writeable = False
    first, again, other = (change(images, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(images, before)
    assert first.flags.writeable
    first[...] = 0  # a new array, whatever was drawn
    np.testing.assert_array_equal(images, before)


@given(
    n=st.integers(0, 5),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    channels=st.integers(1, 4),
    padding=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_any_shape(n: int, size: tuple[int, int], channels: int, padding: int, seed: int) -> None:
    images = np.random.default_rng(seed).standard_normal((n, *size, channels))[:, ::-1]  # not contiguous
    crops = random_crop(images, np.random.default_rng(seed), padding)
    flips = random_flip(images, np.random.default_rng(seed))
    assert crops.shape == flips.shape == images.shape
    rows, columns = size
    for image, crop, flip in zip(images, crops, flips, strict=True):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        windows = (
            padded[i : i + rows, j : j + columns] for i in range(2 * padding + 1) for j in range(2 * padding + 1)
        )
        assert any(np.array_equal(crop, window) for window in windows)
        assert any(np.array_equal(flip, choice) for choice in (image, image[:, ::-1]))


def test_no_padding_is_no_change() -> None:
    images = numbered(3, 4, 5, 2)
    np.testing.assert_array_equal(random_crop(images, np.random.default_rng(0), padding=0), images)


def test_wrong_input() -> None:
    rng = np.random.default_rng(0)
    for change in (random_crop, random_flip):
        with pytest.raises(ValueError, match=r"takes images \(N, H, W, C\), got shape \(32, 32, 3\)"):
            change(np.zeros((32, 32, 3)), rng)
    with pytest.raises(ValueError, match="padding must not be negative, got -1"):
        random_crop(np.zeros((1, 2, 2, 1)), rng, padding=-1)
