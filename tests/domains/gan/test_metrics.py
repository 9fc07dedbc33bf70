from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance

from nichenas.core.context import Environment
from nichenas.core.data.image_sources import load_images
from nichenas.core.data.images import Images
from nichenas.core.data.images import resize
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import DataError
from nichenas.domains.gan import extractors
from nichenas.domains.gan.extractors import INCEPTION_FILE
from nichenas.domains.gan.extractors import InceptionExtractor
from nichenas.domains.gan.extractors import load_classifier
from nichenas.domains.gan.metrics import Figures
from nichenas.domains.gan.metrics import InceptionScore
from nichenas.domains.gan.metrics import Moments
from nichenas.domains.gan.metrics import frechet_distance
from nichenas.domains.gan.metrics import inception_score
from nichenas.domains.gan.metrics import kernel_distance
from nichenas.domains.gan.statistics import measure
from nichenas.domains.gan.statistics import named
from nichenas.domains.gan.statistics import real_statistics


def moments(samples: np.ndarray, batch: int = 97) -> Moments:
    result = Moments(samples.shape[1])
    for start in range(0, len(samples), batch):
        result.update(torch.from_numpy(samples[start : start + batch]))
    return result


def distance(one: Moments, two: Moments) -> float:
    return frechet_distance(one.mean, one.covariance, two.mean, two.covariance)


def peer(one: Moments, two: Moments) -> float:
    return float(
        calculate_frechet_distance(one.mean.numpy(), one.covariance.numpy(), two.mean.numpy(), two.covariance.numpy())
    )


class TestMoments:
    def test_equal_numpy_and_keep_digits_of_large_means(self) -> None:
        samples = np.random.default_rng(0).normal(1e6, 1.0, (1000, 8))
        found = moments(samples)
        np.testing.assert_allclose(found.mean.numpy(), samples.mean(0), rtol=1e-14)
        np.testing.assert_allclose(found.covariance.numpy(), np.cov(samples, rowvar=False), rtol=1e-8, atol=1e-8)

    def test_size_does_not_grow_with_samples(self) -> None:
        few, many = (moments(np.ones((n, 4)) * np.arange(n)[:, None]) for n in (10, 5000))
        assert [t.shape for t in (few.mean, few.covariance)] == [t.shape for t in (many.mean, many.covariance)]


class TestFrechet:
    @pytest.mark.parametrize(
        ("width", "count", "expected"),
        [
            (32, 500, 1.21),
            (32, 1000, 0.62),
            (32, 5000, 0.11),
            (64, 500, 4.32),
            (64, 1000, 2.19),
            (64, 5000, 0.45),
            (128, 500, 17.0),
            (128, 1000, 8.34),
            (128, 5000, 1.71),
        ],
    )
    def test_two_samples_of_one_normal(self, width: int, count: int, expected: float) -> None:
        values = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            values.append(distance(moments(rng.normal(size=(count, width))), moments(rng.normal(size=(count, width)))))
        assert np.mean(values) == pytest.approx(expected, rel=0.1)
        assert 2 * width / count + width * (width + 1) / (2 * count) == pytest.approx(expected, rel=0.12)

    @pytest.mark.parametrize("width", [3, 40, 150])
    def test_equals_pytorch_fid(self, width: int) -> None:
        rng = np.random.default_rng(width)
        for scale in (1.0, 30.0):
            mix = rng.normal(size=(width, width))
            one = moments(rng.normal(size=(4 * width, width)) @ mix)
            two = moments(rng.normal(size=(6 * width, width)) @ mix * scale + 0.3)
            assert distance(one, two) == pytest.approx(peer(one, two), rel=1e-6)

    def test_ill_conditioned_equals_pytorch_fid(self) -> None:
        rng = np.random.default_rng(0)
        scales = np.logspace(0, -5, 60)
        one, two = (moments(rng.normal(size=(500, 60)) * scales) for _ in range(2))
        assert distance(one, two) == pytest.approx(peer(one, two), rel=1e-6)

    def test_of_the_same_is_zero(self) -> None:
        one = moments(np.random.default_rng(0).normal(size=(500, 64)))
        assert abs(distance(one, one)) < 1e-11

    def test_shift_and_scale(self) -> None:
        samples = np.random.default_rng(0).normal(size=(20000, 64))
        one = moments(samples)
        shifted = samples.copy()
        shifted[:, 5] += 1
        assert distance(one, moments(shifted)) == pytest.approx(1, rel=1e-6)
        assert distance(one, moments(2 * samples)) == pytest.approx(64, rel=0.02)

    @pytest.mark.parametrize("count", [2, 10, 40])
    def test_singular_covariances(self, count: int) -> None:
        # Fewer samples than dimensions: the exact value is that in the space that the samples span.
        rng = np.random.default_rng(count)
        one, two = rng.normal(size=(count, 64)), rng.normal(size=(count, 64)) * 2
        basis, _ = np.linalg.qr(np.concatenate([one, two]).T)
        inside = distance(moments(one @ basis), moments(two @ basis))
        assert distance(moments(one), moments(two)) == pytest.approx(inside, rel=1e-9)
        assert abs(distance(moments(one), moments(one))) < 1e-6
        zero = Moments(64)
        zero.update(torch.zeros(5, 64))
        whole = moments(rng.normal(size=(500, 64)))
        assert distance(zero, whole) == pytest.approx(float(whole.covariance.trace() + whole.mean.square().sum()))


class TestInceptionScore:
    @staticmethod
    def one_hot(count: int, classes: int = 10, sort: bool = False) -> torch.Tensor:
        labels = torch.arange(count) % classes
        logits = torch.full((count, classes), -1e9)
        logits[torch.arange(count), labels.sort()[0] if sort else labels] = 0
        return logits

    @pytest.mark.parametrize(
        ("count", "expected"), [(100, 5.94), (500, 9.15), (1000, 9.45), (5000, 9.91), (50000, 9.99)]
    )
    def test_balanced_classes_in_ten_splits(self, count: int, expected: float) -> None:
        logits = self.one_hot(count)
        found = np.mean([inception_score(logits, seed=seed)[0] for seed in range(10 if count < 5000 else 1)])
        assert found == pytest.approx(expected, rel=0.035)

    def test_1008_classes_are_capped_by_the_split(self) -> None:
        assert inception_score(self.one_hot(5000, 1008))[0] == pytest.approx(364, rel=0.08)

    def test_uniform_predictions_score_one(self) -> None:
        assert inception_score(torch.zeros(1000, 10))[0] == pytest.approx(1.0, abs=1e-12)

    def test_sorted_labels_score_as_shuffled_ones(self) -> None:
        assert inception_score(self.one_hot(5000, sort=True))[0] == pytest.approx(9.91, rel=0.01)
        # What cutting in order would give:
        parts = self.one_hot(5000, sort=True).chunk(10)
        assert np.mean([inception_score(part, splits=1)[0] for part in parts]) < 1.3

    def test_batches_do_not_matter(self) -> None:
        logits = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0)) * 3
        meter = InceptionScore(1000, 4, 7)
        for part in logits.split(77):
            meter.update(part)
        assert meter.result() == pytest.approx(inception_score(logits, 4), rel=1e-12)
        assert 1 <= meter.result()[0] <= 7

    def test_equals_the_definition(self) -> None:
        logits = torch.randn(300, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        p = logits.softmax(1)
        expected = (p * (p.log() - p.mean(0).log())).sum(1).mean().exp()
        assert inception_score(logits, 1) == (pytest.approx(float(expected), rel=1e-12), 0.0)

    def test_too_few_samples_are_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot be cut"):
            InceptionScore(5, 10, 3)


class TestKernelDistance:
    def test_is_unbiased(self) -> None:
        values = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            one, two = (torch.from_numpy(rng.normal(size=(500, 64))) for _ in range(2))
            values.append(kernel_distance(one, two))
        assert abs(np.mean(values)) < 0.005

    def test_equals_the_double_sum(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 3)) + 0.5

        def k(a: np.ndarray, b: np.ndarray) -> float:
            return float((a @ b / 3 + 1) ** 3)

        within = sum(k(s[i], s[j]) for s in (x, y) for i in range(7) for j in range(7) if i != j) / 42
        across = sum(k(a, b) for a in x for b in y) / 49
        assert kernel_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(within - 2 * across)

    def test_grows_with_the_shift(self) -> None:
        rng = np.random.default_rng(0)
        one = torch.from_numpy(rng.normal(size=(800, 16)))
        values = [kernel_distance(one, one.flip(0) + shift, subsets=5, size=400) for shift in (0.0, 0.3, 1.0)]
        assert values[0] < values[1] < values[2]


def test_features_that_are_not_finite_fail_the_candidate() -> None:
    with pytest.raises(CandidateFailure, match="not finite"):
        Figures(4, 2, 3, 1).update(torch.tensor([[float("nan"), 0.0]] * 4), torch.zeros(4, 3))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Images, Images, Path]:
    task = load_images("digits", Environment(Path(), Path()), 0.2)
    return resize(task.train, 8), resize(task.validation, 8), tmp_path_factory.mktemp("classifier")


class TestClassifier:
    @pytest.fixture(autouse=True)
    def _longer_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extractors, "STEPS", 1000)

    def test_is_trained_once_and_kept_with_accuracy_and_hash(self, digits: tuple[Images, Images, Path]) -> None:
        train, held_out, cache = digits
        first = load_classifier("digits-cnn", train, held_out, 10, cache, torch.device("cpu"))
        assert first.accuracy > 0.95
        files = list((cache / "gan").iterdir())
        assert len(files) == 1
        written = files[0].stat().st_mtime_ns
        held = torch.load(files[0], weights_only=True)
        assert (held["accuracy"], held["hash"]) == (first.accuracy, first.fingerprint)
        again = load_classifier("digits-cnn", train, held_out, 10, cache, torch.device("cpu"))
        assert (again.fingerprint, again.accuracy) == (first.fingerprint, first.accuracy)
        assert files[0].stat().st_mtime_ns == written
        features, logits = again(held_out.pixels[:5])
        assert features.shape == (5, again.width)
        assert logits.shape == (5, 10)
        held["network"]["head.bias"] += 1  # its hash is another one then
        torch.save(held, files[0])
        mended = load_classifier("digits-cnn", train, held_out, 10, cache, torch.device("cpu"))
        assert mended.fingerprint == first.fingerprint
        files[0].write_bytes(b"damaged")
        mended = load_classifier("digits-cnn", train, held_out, 10, cache, torch.device("cpu"))
        assert mended.fingerprint == first.fingerprint

    def test_sanity_anchors(self, digits: tuple[Images, Images, Path]) -> None:
        """Real against real is near its bias, blur grows monotonely, noise is far away."""
        train, held_out, cache = digits
        extractor = load_classifier("digits-cnn", train, held_out, 10, cache, torch.device("cpu"))
        halves = train.subset(torch.arange(0, len(train), 2)), train.subset(torch.arange(1, len(train), 2))
        real = real_statistics(halves[0], extractor, 10, cache)

        def fid(pixels: torch.Tensor) -> float:
            return measure(iter(pixels.split(100)), len(pixels), extractor, real, 1)["FID[digits-cnn]"]

        same = fid(halves[1].pixels)
        blurred = []
        for width in (3, 5, 7):
            soft = torch.nn.functional.avg_pool2d(halves[1].pixels.float(), width, 1, width // 2)
            blurred.append(fid(soft.to(torch.uint8)))
        noise = torch.randint(0, 256, halves[1].pixels.shape, dtype=torch.uint8)
        assert same < blurred[0] < blurred[1] < blurred[2]
        assert same < 0.3
        assert fid(noise) > blurred[0]
        assert fid(noise) > 20 * same
        assert real.score > 8

    def test_statistics_are_cached_in_pytorch_fid_s_form(self, digits: tuple[Images, Images, Path]) -> None:
        train, held_out, cache = digits
        extractor = load_classifier("digits-cnn", train, held_out, 10, cache, torch.device("cpu"))
        found = real_statistics(held_out, extractor, 10, cache)
        files = [f for f in (cache / "gan").glob("statistics-*.npz") if np.load(f)["count"] == len(held_out)]
        assert len(files) == 1
        with np.load(files[0]) as held:
            np.testing.assert_array_equal(held["mu"], found.mean.numpy())
            assert held["sigma"].shape == (64, 64)
        files[0].write_bytes(files[0].read_bytes()[:100])
        assert torch.equal(real_statistics(held_out, extractor, 10, cache).mean, found.mean)


def test_names_tell_extractor_and_reference() -> None:
    class Named:
        name = "digits-cnn"

    class Original:
        name = ""

    assert named(Named(), "FID") == "FID[digits-cnn]"  # type: ignore[arg-type]
    assert named(Named(), "FID", "training images") == "FID[digits-cnn, training images]"  # type: ignore[arg-type]
    assert named(Original(), "FID") == "FID"  # type: ignore[arg-type]
    assert named(Original(), "FID", "training images") == "FID[training images]"  # type: ignore[arg-type]


class TestInception:
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A file in the form of pytorch-fid's, with random weights."""
        from pytorch_fid import inception

        torch.manual_seed(0)
        network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
        for name, block, arguments in (
            ("Mixed_5b", inception.FIDInceptionA, (192, 32)),
            ("Mixed_5c", inception.FIDInceptionA, (256, 64)),
            ("Mixed_5d", inception.FIDInceptionA, (288, 64)),
            ("Mixed_6b", inception.FIDInceptionC, (768, 128)),
            ("Mixed_6c", inception.FIDInceptionC, (768, 160)),
            ("Mixed_6d", inception.FIDInceptionC, (768, 160)),
            ("Mixed_6e", inception.FIDInceptionC, (768, 192)),
            ("Mixed_7b", inception.FIDInceptionE_1, (1280,)),
            ("Mixed_7c", inception.FIDInceptionE_2, (2048,)),
        ):
            setattr(network, name, block(*arguments))
        file = tmp_path_factory.mktemp("inception") / INCEPTION_FILE
        torch.save(network.state_dict(), file)
        return file

    def test_features_are_pytorch_fid_s_and_logits_have_no_bias(self, weights: Path) -> None:
        from unittest import mock

        from pytorch_fid import inception

        extractor = InceptionExtractor(weights, torch.device("cpu"))
        state = torch.load(weights, weights_only=True)
        pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
            theirs = inception.InceptionV3((3,)).eval()
        with torch.no_grad():
            expected = theirs(pixels.float() / 255)[0].flatten(1)
        features, logits = extractor(pixels)
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(logits, expected @ state["fc.weight"].T)
        assert (extractor.width, extractor.classes) == (2048, 1008)

    def test_other_weights_carry_their_hash_in_the_name(self, weights: Path) -> None:
        name = InceptionExtractor(weights, torch.device("cpu")).name
        assert name.startswith("inception-")
        assert len(name) == len("inception-") + 8

    def test_missing_weights_are_one_clear_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(DataError, match=f"need pytorch-fid's {INCEPTION_FILE}.*--inception-weights"):
            InceptionExtractor(None, torch.device("cpu"))
        with pytest.raises(DataError, match=r"'nowhere\.pth' is not there"):
            InceptionExtractor(Path("nowhere.pth"), torch.device("cpu"))

    def test_found_in_torch_s_cache(self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
        (tmp_path / "hub" / "checkpoints" / INCEPTION_FILE).symlink_to(weights)
        assert InceptionExtractor(None, torch.device("cpu")).fingerprint

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "other.pth"
        torch.save({"a": torch.zeros(1)}, file)
        with pytest.raises(DataError, match="not the weights of pytorch-fid's Inception"):
            InceptionExtractor(file, torch.device("cpu"))
