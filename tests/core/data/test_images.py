"""Image sources, splits and augmentation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.data import image_folders
from nichenas.core.data.image_sources import load_images
from nichenas.core.data.images import Augmentation
from nichenas.core.data.images import Batches
from nichenas.core.data.images import Images
from nichenas.core.data.images import ImageTask
from nichenas.core.data.images import augment
from nichenas.core.data.images import cut_out
from nichenas.core.data.images import resize
from nichenas.core.data.images import scaled
from nichenas.core.data.images import to_float
from nichenas.core.data.splits import stratified
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import TestDataError


@pytest.fixture
def place(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "data", tmp_path / "cache", seed=3)


def npz(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x_train": rng.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8),
        "y_train": np.arange(40) % 4,
        "x_test": rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8),
        "y_test": np.arange(8) % 4,
    }
    arrays.update(changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def folder(root: Path, parts: tuple[str, ...] = ("",), size: tuple[int, int] = (7, 5), count: int = 10) -> Path:
    rng = np.random.default_rng(0)
    for part in parts:
        for name in ("cats", "dogs"):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


# Splits


@given(st.lists(st.integers(0, 4), min_size=5, max_size=80), st.floats(0.05, 0.9))
@settings(max_examples=60, deadline=None)
def test_stratified_split(labels: list[int], share: float) -> None:
    given_labels = torch.tensor(labels)
    rest, chosen = stratified(given_labels, share, np.random.default_rng(0))
    assert sorted([*rest.tolist(), *chosen.tolist()]) == list(range(len(labels)))
    assert len(chosen) == round(share * len(labels))
    for label in set(labels):
        count = labels.count(label)
        assert abs(int((given_labels[chosen] == label).sum()) - share * count) < 1 + 1e-9


def test_digits(place: Environment) -> None:
    task = load_images("digits", place, validation=0.1, upsample=2)
    assert task.train.pixels.shape == (1294, 1, 16, 16)
    assert task.validation.pixels.shape == (144, 1, 16, 16)
    assert task.train.pixels.dtype == torch.uint8
    assert (len(task.classes), task.size, task.channels) == (10, 16, 1)
    with pytest.raises(TestDataError):
        task.test.read()
    with open_test_data():
        test = task.test.read()
    assert len(test) == 359
    counts = test.labels.bincount()
    assert int(counts.max() - counts.min()) <= 2
    images = to_float(task.train.pixels, task.mean, task.std)
    assert float(images.mean()) == pytest.approx(0, abs=1e-4)
    assert float(images.std()) == pytest.approx(1, abs=1e-3)


def test_validation_depends_on_the_seed_and_the_test_split_does_not(place: Environment) -> None:
    one = load_images("digits", place)
    other = load_images("digits", Environment(place.data_root, place.cache, seed=4))
    assert not torch.equal(one.validation.labels, other.validation.labels)
    with open_test_data():
        assert torch.equal(one.test.read().pixels, other.test.read().pixels)


def test_limit_is_named(place: Environment) -> None:
    task = load_images("digits", place, limit=200)
    assert len(task.train) + len(task.validation) == 200
    assert task.name == "digits (200 training images)"


# Files


def test_npz(place: Environment) -> None:
    npz(place.data_root / "mine.npz", class_names=np.array(["a", "b", "c", "d"]))
    task = load_images("mine.npz", place, validation=0.2)
    assert task.train.pixels.shape == (32, 3, 6, 6)
    assert task.classes == ("a", "b", "c", "d")
    grey = npz(
        place.data_root / "grey.npz", x_train=np.zeros((40, 6, 6), np.uint8), x_test=np.zeros((8, 6, 6), np.uint8)
    )
    assert load_images(str(grey), place, validation=0.2).channels == 1
    first = npz(place.data_root / "nchw.npz", x_train=np.zeros((40, 3, 6, 6), np.uint8))
    assert load_images(str(first), place, validation=0.2).train.pixels.shape[1:] == (3, 6, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "holds no 'y_test'"),
        ({"x_train": np.zeros((40, 6, 6, 3))}, "x_train is float64"),
        ({"x_test": np.zeros((8, 5, 6, 3), np.uint8)}, "x_test of (5, 6, 3)"),
        ({"y_train": np.arange(39) % 4}, "must be 40 class numbers"),
        ({"y_train": np.arange(40) % 4 + 1}, "every class from 0"),
        ({"y_test": np.full(8, 9)}, "and y_test no other"),
        ({"y_train": np.array(["a"] * 40)}, "class numbers from 0, one an image; it is <U1 (40,) (names: np.unique(y,"),
        ({"y_train": np.eye(4, dtype=np.int64)[np.arange(40) % 4]}, "(one-hot rows: y.argmax(1))"),
        ({"x_train": np.zeros((40, 6, 6, 3), np.float32)}, "(images in [0, 1]: (255 * x).round().astype('uint8'))"),
        ({"y_train": np.zeros(40, np.int64), "y_test": np.zeros(8, np.int64)}, "y_train holds one class alone"),
        ({"class_names": np.array(["a", "b", "c"])}, "class_names has the shape (3,); there are 4 classes"),
        ({"x_train": np.array([{}] * 40, dtype=object)}, "cannot be read as .npz"),
    ],
)
def test_broken_npz(place: Environment, changes: dict[str, Any], message: str) -> None:
    file = npz(place.data_root / "broken.npz", **changes)
    with pytest.raises(DataError) as caught:
        load_images("broken.npz", place)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


def test_no_npz_at_all(place: Environment) -> None:
    place.data_root.mkdir()
    (place.data_root / "text.npz").write_text("no")
    with pytest.raises(DataError, match="cannot be read"):
        load_images("text.npz", place)
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load_images("digit", place)


def test_folder_is_decoded_once(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(place.data_root / "pets")
    task = load_images("pets", place, validation=0.25)
    assert task.classes == ("cats", "dogs")
    assert task.train.pixels.shape[1:] == (3, 5, 7)
    assert task.notes == (
        "there are no test images: 20% of all are, the same ones for every run",
        "4 validation images are too few to rank candidates by",
    )
    with open_test_data():
        assert len(task.test.read()) == 4
    monkeypatch.setattr(image_folders, "_decode", lambda *a: pytest.fail("decoded again"))
    again = load_images("pets", place, validation=0.25)
    assert torch.equal(task.train.pixels, again.train.pixels)


def test_imagenet_style_folder(place: Environment) -> None:
    folder(place.data_root / "net", ("train", "val"), size=(12, 9))
    task = load_images("net", place, validation=0.2, size=6)
    assert task.train.pixels.shape == (16, 3, 6, 6)
    with open_test_data():
        assert len(task.test.read()) == 20


def test_broken_folders(place: Environment) -> None:
    root = folder(place.data_root / "pets")
    Image.new("RGB", (3, 3)).save(root / "dogs" / "zz.png")
    with pytest.raises(DataError, match=r"zz.png: 3 x 3 pixels, the first image has 7 x 5; give domain.image_size"):
        load_images("pets", place)
    (root / "cats" / "broken.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"broken.jpg: cannot be decoded"):
        load_images("pets", place, size=6)
    (place.data_root / "empty" / "one").mkdir(parents=True)
    with pytest.raises(DataError, match="holds 1 sub-folders"):
        load_images("empty", place)
    (place.data_root / "empty" / "two").mkdir()
    with pytest.raises(DataError, match="no images"):
        load_images("empty", place)


def coloured(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.mark.parametrize(
    ("mode", "pixel", "message"),
    [("I;16", 4000, "of more than 8 bits"), ("I", 70000, "of more than 8 bits"), ("F", 0.5, "floats")],
)
def test_deep_images_are_refused_and_not_cut_off(place: Environment, mode: str, pixel: Any, message: str) -> None:
    root = folder(place.data_root / "deep")
    coloured(root / "cats" / "zz.tif", Image.new(mode, (7, 5), pixel))
    with pytest.raises(DataError, match=rf"zz.tif: its pixels are {message}; save it with 8 bits a channel"):
        load_images("deep", place)


def test_transparent_images_lie_on_white(place: Environment) -> None:
    for name in ("cats", "dogs"):
        for i in range(8):
            symbol = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
            symbol.putpixel((1, 1), (0, 0, 0, 255))
            coloured(place.data_root / "icons" / name / f"{i}.png", symbol)
    pixels = load_images("icons", place, validation=0.3).train.pixels
    assert set(pixels.unique().tolist()) == {0, 255}
    assert float((pixels == 0).float().mean()) == pytest.approx(1 / 36)


def test_photographs_are_turned_as_their_camera_says(place: Environment) -> None:
    for name in ("cats", "dogs"):
        for i in range(8):
            wide = Image.new("RGB", (8, 4))
            exif = wide.getexif()
            exif[0x0112] = 6  # turned by 90 degrees
            path = place.data_root / "photos" / name / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            wide.save(path, exif=exif)
    assert load_images("photos", place, validation=0.3).train.pixels.shape[-2:] == (8, 4)


def test_folders_that_do_not_fit_together(place: Environment) -> None:
    root = folder(place.data_root / "net", ("train", "test", "valid"))
    notes = load_images("net", place, validation=0.3).notes
    assert notes[0] == "folders beside 'train' that are not used: valid"
    coloured(root / "test" / "birds" / "0.png", Image.new("RGB", (7, 5)))
    with pytest.raises(DataError, match=r"holds birds, which .*train does not; classes: cats, dogs"):
        load_images("net", place)
    shutil.rmtree(root / "test" / "birds")
    shutil.rmtree(root / "test" / "dogs")
    assert "classes without test images: dogs" in load_images("net", place, validation=0.3).notes
    (root / "train" / "ants").mkdir()
    with pytest.raises(DataError, match=r"train: no images in ants; remove what is no class"):
        load_images("net", place)


def test_a_new_class_changes_the_labels_of_images_that_were_decoded_before(place: Environment) -> None:
    root = folder(place.data_root / "net", ("train", "test"))
    load_images("net", place, validation=0.3)
    shutil.copytree(root / "train" / "dogs", root / "train" / "ants")
    task = load_images("net", place, validation=0.3)
    assert task.classes == ("ants", "cats", "dogs")
    with open_test_data():
        assert task.test.read().labels.unique().tolist() == [1, 2]


def test_missing_torchvision_data_is_one_sentence(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    place.data_root.mkdir()

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    with pytest.raises(DataError) as caught:
        load_images("cifar10", place)
    assert "cifar-10-batches-py" in str(caught.value)
    assert "--data-root" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fashion_mnist(data: Path, tmp_path: Path) -> None:
    task = load_images("FashionMNIST", Environment(data, tmp_path), limit=1000)
    assert task.train.pixels.shape == (900, 1, 28, 28)
    assert task.classes[0] == "T-shirt/top"


def test_real_npz(data: Path, tmp_path: Path) -> None:
    (file,) = (data / "cifar10").glob("*.npz")
    task = load_images(str(file), Environment(data, tmp_path))
    assert task.train.pixels.shape == (9000, 3, 32, 32)
    assert len(task.classes) == 10


# Augmentation


def test_crop_and_flip_equal_the_plain_loop() -> None:
    pixels = torch.randint(0, 256, (32, 3, 8, 6), dtype=torch.uint8)
    found = augment(pixels, Augmentation(crop=2, flip=True), np.random.default_rng(5))
    rng = np.random.default_rng(5)
    top, left = rng.integers(0, 5, (2, 32))
    flips = rng.random(32) < 0.5
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2))
    for index in range(32):
        wanted = padded[index, :, top[index] : top[index] + 8, left[index] : left[index] + 6]
        assert torch.equal(found[index], wanted.flip(2) if flips[index] else wanted)
    assert flips.any()
    assert not flips.all()


def test_cutout_sets_a_square_to_the_mean() -> None:
    images = cut_out(torch.ones(64, 2, 9, 9), 4, np.random.default_rng(0))
    gone = (images == 0).flatten(1).sum(1) // 2
    assert int(gone.max()) == 16
    assert int(gone.min()) >= 4
    assert torch.equal(images[:, 0], images[:, 1])


def test_batches() -> None:
    images = Images(
        torch.arange(22, dtype=torch.uint8).view(22, 1, 1, 1).expand(22, 1, 4, 4).contiguous(), torch.arange(22)
    )
    batches = Batches(images, 5, (0.0,), (1.0,))
    seen = [label for _, labels in batches.train_batches(np.random.default_rng(0)) for label in labels.tolist()]
    assert len(batches) == 4
    assert len(set(seen)) == 20
    again = [label for _, labels in batches.train_batches(np.random.default_rng(0)) for label in labels.tolist()]
    assert seen == again
    assert [label for _, labels in batches.eval_batches() for label in labels.tolist()] == list(range(22))
    for pixels, labels in batches.eval_batches():
        assert torch.allclose(pixels[:, 0, 0, 0] * 255, labels.float())
    with pytest.raises(DataError, match="empty"):
        Batches(images.subset(torch.empty(0, dtype=torch.int64)), 5, (0.0,), (1.0,))


def test_resized_smooths_what_gets_smaller_and_keeps_what_fits() -> None:
    rng = np.random.default_rng(0)
    images = Images(torch.from_numpy(rng.integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)), torch.arange(5))
    assert resize(images, 8) is images
    small, large = resize(images, 4), resize(images, 16)
    assert small.pixels.shape == (5, 1, 4, 4)
    assert large.pixels.shape == (5, 1, 16, 16)
    assert large.pixels.dtype == torch.uint8
    for found in (small, large):
        means = found.pixels.float().mean((1, 2, 3)), images.pixels.float().mean((1, 2, 3))
        assert torch.allclose(*means, atol=8)
    stripes = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    stripes[..., ::2] = 200
    # Without smoothing, every second column would be all there is.
    assert resize(Images(stripes, torch.zeros(1)), 4).pixels.float().std() < 30


def test_data_have_an_identity_and_notes(place: Environment) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"x_{part}": rng.integers(0, 255, (20, 6, 8, 3)).astype(np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(20) % 2 for part in ("train", "test")}
    place.data_root.mkdir(exist_ok=True)

    def loaded(**changed: Any) -> ImageTask:
        np.savez(place.data_root / "own.npz", **{**arrays, **changed})
        return load_images("own.npz", place, 0.3, size=4)

    task = loaded()
    assert task.notes[0] == "images of 8 x 6 pixels are brought to 4 x 4, cropped at the centre"
    assert (task.size, task.identity) == (4, loaded().identity)
    assert load_images("digits", place).notes == ()
    identities = {task.identity}
    for name in arrays:
        changed = arrays[name].copy()
        changed.flat[:200] = 1 - changed.flat[:200] if "y" in name else 255 - changed.flat[:200]
        identities.add(loaded(**{name: changed}).identity)
    assert len(identities) == 5


def test_scaled_keeps_the_shape_of_things_and_crops_at_the_centre() -> None:
    wide = torch.zeros(2, 1, 8, 16, dtype=torch.uint8)
    wide[:, :, :, 4:12] = 100
    half = scaled(wide, 4)
    assert half.shape == (2, 1, 4, 4)
    assert torch.equal(half[..., 1:3], torch.full((2, 1, 4, 2), 100, dtype=torch.uint8))  # no 0 from the sides
    square = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    assert torch.equal(scaled(square, 8), square)
    assert torch.equal(scaled(square, 4), resize(Images(square, torch.zeros(1, dtype=torch.int64)), 4).pixels)
    assert scaled(square.transpose(2, 3)[:, :, :7], 5).shape == (1, 1, 5, 5)


def test_a_folder_without_labels(place: Environment) -> None:
    folder = place.data_root / "flat"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    task = load_images("flat", place, 0.25, labelled=False)
    assert (len(task.train), len(task.validation)) == (12, 4)
    assert task.classes == (".",)
    with pytest.raises(DataError, match="one a class"):
        load_images("flat", place, 0.25)


def test_stl10_from_files_in_its_format(place: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    folder = place.data_root / "stl10_binary"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    (folder / "class_names.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    for part, count in (("train", 20), ("test", 10), ("unlabeled", 15)):
        rng.integers(0, 256, count * 3 * 96 * 96, dtype=np.uint8).tofile(folder / f"{part}_X.bin")
        if part != "unlabeled":
            (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    monkeypatch.setattr(STL10, "_check_integrity", lambda self: True)  # the real files' checksums
    labelled = load_images("STL10", place, 0.5)
    assert (len(labelled.train), len(labelled.validation), len(labelled.classes)) == (10, 10, 10)
    assert labelled.train.pixels.shape[1:] == (3, 96, 96)
    every = load_images("stl10", place, 0.2, labelled=False)
    assert len(every.train) + len(every.validation) == 35
    assert every.classes[-1] == "no label"
    # Files hold images column by column, as torchvision reads them.
    first = np.fromfile(folder / "train_X.bin", dtype=np.uint8, count=3 * 96 * 96).reshape(3, 96, 96).transpose(0, 2, 1)
    assert any((image.numpy() == first).all() for image in (*every.train.pixels, *every.validation.pixels))
