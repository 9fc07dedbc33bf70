from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.core.costs.macs import count_costs
from nichenas.core.errors import ConfigError
from nichenas.domains.gan.adversaries import Adversaries
from nichenas.domains.gan.discriminator import Discriminator
from nichenas.domains.gan.discriminator import hinge_discriminator
from nichenas.domains.gan.discriminator import hinge_generator
from nichenas.domains.gan.generator import Generator
from nichenas.domains.gan.generator import initialise
from nichenas.domains.gan.genotypes import PUBLISHED
from nichenas.domains.gan.genotypes import CellGenotype
from nichenas.domains.gan.genotypes import Genotype
from nichenas.domains.gan.genotypes import parse
from nichenas.domains.gan.genotypes import sources
from nichenas.domains.gan.settings import AdversarialSettings
from nichenas.domains.gan.space import architecture_of
from nichenas.domains.gan.space import gan_space
from nichenas.domains.gan.space import genotype_of
from nichenas.domains.gan.space import stage_ends


def random_genotypes(count: int, cells: int = 3) -> list[Genotype]:
    rng = np.random.default_rng(0)
    space = gan_space(cells)
    return [genotype_of(space.sample(rng)) for _ in range(count)]


class TestSpace:
    def test_sizes(self) -> None:
        space = gan_space(3)
        assert len(space.choices) == 14
        assert space.size == 373_248
        ends = stage_ends(3)
        assert ends == (4, 9, 14)
        assert [space.first(n).size for n in ends] == [36, 36 * 72, 36 * 72 * 144]
        prefix = space.first(4).sample(np.random.default_rng(0))
        assert space.first(9).extending([prefix]).size == 72

    def test_skip_bits(self) -> None:
        assert [sources(value, 2) for value in range(4)] == [(), (1,), (0,), (0, 1)]
        assert [sources(value, 1) for value in range(2)] == [(), (0,)]

    @pytest.mark.parametrize("order", ["last", "first"])
    def test_tokens_and_architectures_round_trip(self, order: Any) -> None:
        space = gan_space(3, order)
        rng = np.random.default_rng(1)
        for _ in range(100):
            architecture = space.sample(rng)
            genotype = genotype_of(architecture)
            assert architecture_of(genotype, space) == architecture
            tokens = genotype.tokens(order)
            assert tokens == space.to_indices(architecture).tolist()  # an option's position is its token
            assert Genotype.from_tokens(tokens, order) == genotype
        assert parse(str(genotype)) == genotype

    def test_the_skip_token_comes_first_in_the_paper(self) -> None:
        code, paper = PUBLISHED["AutoGAN-A"].tokens("last"), PUBLISHED["AutoGAN-A"].tokens("first")
        assert code == [1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0, 3]
        assert paper == [1, 0, 1, 1, 1, 1, 0, 0, 1, 3, 1, 0, 1, 0]

    def test_published_a_in_words(self) -> None:
        cells = PUBLISHED["AutoGAN-A"].cells
        assert {cell.block for cell in cells} == {"pre"}
        assert {cell.norm for cell in cells} == {"none"}
        assert [cell.up for cell in cells] == ["nearest", "bilinear", "nearest"]
        assert [cell.shortcut for cell in cells] == [True, True, False]
        assert [cell.skips for cell in cells] == [(), (0,), (0, 1)]

    def test_errors_name_the_token(self) -> None:
        with pytest.raises(ConfigError, match="U of cell 1 is 3; allowed: 0 to 2"):
            Genotype.from_tokens([0, 0, 3, 0])
        with pytest.raises(ConfigError, match="cell 2 has 3 tokens; wanted: 5"):
            Genotype.from_tokens([0, 0, 0, 0, 1, 0, 0])
        with pytest.raises(ConfigError, match="'AutoGAN-D' is no token sequence, nor one of AutoGAN-A"):
            parse("AutoGAN-D")


class TestSizes:
    @pytest.mark.parametrize(
        ("name", "parameters", "gmacs"),
        [("AutoGAN-A", 4_405_251, 1.765), ("AutoGAN-B", 4_471_043, 1.832), ("AutoGAN-C", 4_406_275, 1.765)],
    )
    def test_published_generators(self, name: str, parameters: int, gmacs: float) -> None:
        costs = count_costs(Generator(3, 256, genotype=PUBLISHED[name], plain=True), (128,))
        assert costs.parameters == parameters
        assert round(costs.macs / 1e9, 3) == gmacs

    @pytest.mark.parametrize(("channels", "parameters"), [(128, 1_053_824), (64, 264_768)])
    def test_discriminator(self, channels: int, parameters: int) -> None:
        normalised = Discriminator(3, channels)
        assert sum(p.numel() for p in normalised.parameters()) == parameters
        whole = Stage(Discriminator(3, channels, normalise=False, plain=True), 2)
        costs = count_costs(whole, (3, 32, 32))
        assert costs.parameters == parameters
        if channels == 128:
            assert round(costs.macs / 1e9, 3) == 0.272

    @pytest.mark.parametrize(("channels", "parameters"), [(128, 3_716_995), (256, 14_315_267)])
    def test_shared_generator(self, channels: int, parameters: int) -> None:
        # The released supernet also holds transposed convolutions that nothing can use: two in the second block of
        # every cell, three for skips into the first cell, and two for a skip over two cells into the second.
        unused = 11 * (channels * channels * 4 + channels)
        assert sum(p.numel() for p in Generator(3, channels).parameters()) == parameters - unused

    def test_outputs_are_8_16_and_32_pixels(self) -> None:
        shared = Generator(3, 4)
        z = torch.randn(2, 128)
        genotype = PUBLISHED["AutoGAN-A"]
        for cells, size in ((1, 8), (2, 16), (3, 32)):
            assert shared(z, Genotype(genotype.cells[:cells])).shape == (2, 3, size, size)
        assert Generator(3, 4, bottom=6, genotype=genotype)(z).shape == (2, 3, 48, 48)


class Stage(nn.Module):
    def __init__(self, discriminator: Discriminator, stage: int) -> None:
        super().__init__()
        self.discriminator, self.stage = discriminator, stage

    def forward(self, x: Tensor) -> Tensor:
        return self.discriminator(x, self.stage)


def reference(state: dict[str, Tensor], z: Tensor, genotype: Genotype, channels: int, bottom: int, tap: str) -> Tensor:
    """The generator written down from the paper's description, one operation after another, in training mode."""

    def conv(x: Tensor, name: str, padding: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def norm(x: Tensor, name: str, kind: str) -> Tensor:
        if kind == "batch":
            return F.batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], training=True)
        return F.instance_norm(x) if kind == "instance" else x

    def larger(x: Tensor, size: int, name: str, up: str) -> Tensor:
        if up == "deconv":
            part = 0
            while x.shape[-1] < size:
                deconv = f"{name}.{part}" if f"{name}.{part}.weight" in state else name
                x = F.conv_transpose2d(x, state[f"{deconv}.weight"], state[f"{deconv}.bias"], stride=2)
                part += 1
            return x
        kwargs = {"align_corners": False} if up == "bilinear" else {}
        return F.interpolate(x, size=(size, size), mode=up, **kwargs)  # type: ignore[arg-type]

    x = F.linear(z, state["project.weight"], state["project.bias"]).view(len(z), channels, bottom, bottom)
    handed: list[Tensor] = []
    for index, cell in enumerate(genotype.cells):
        size = 2 * x.shape[-1]
        name = f"cells.{index}"

        def block(
            h: Tensor, which: str, enlarge: bool, cell: CellGenotype = cell, name: str = name, size: int = size
        ) -> Tensor:
            own = f"{name}.{which}.{cell.block}"
            if cell.block == "pre":
                h = torch.relu(norm(h, f"{own}.norm", cell.norm))
            if enlarge:
                h = larger(h, size, f"{own}.deconv", cell.up)
            h = conv(h, f"{own}.conv", 1)
            if cell.block == "post":
                h = torch.relu(norm(h, f"{own}.norm", cell.norm))
            return h

        h = block(x, "first", True)
        before = h
        for source in cell.skips:
            up = larger(handed[source], size, f"{name}.skip_deconvs.{source}", cell.up)
            h = h + conv(up, f"{name}.skips.{source}", 0)
        handed.append(before if tap == "before" else h)
        out = block(h, "second", False)
        if cell.shortcut:
            out = out + conv(larger(x, size, f"{name}.shortcut_deconv", cell.up), f"{name}.shortcut", 0)
        x = out
    x = torch.relu(norm(x, "norm", "batch"))
    return torch.tanh(conv(x, "to_image", 1))


class TestGenerator:
    @pytest.mark.parametrize("tap", ["before", "after"])
    def test_shared_dedicated_and_reference_are_one_function(self, tap: Any) -> None:
        torch.manual_seed(0)
        shared = Generator(3, 6, 16, 2, 1, tap=tap).double()
        initialise(shared)
        state = dict(shared.state_dict())
        z = torch.randn(4, 16, dtype=torch.float64)
        for genotype in [*random_genotypes(60), *PUBLISHED.values()]:
            expected = reference(state, z, genotype, 6, 2, tap)
            for plain in (False, True):
                alone = Generator(3, 6, 16, 2, 1, genotype, tap, plain).double()
                alone.load_state_dict({name: state[name] for name in alone.state_dict()})
                torch.testing.assert_close(alone(z), expected, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(shared(z, genotype), expected, rtol=1e-9, atol=1e-11)

    def test_taps_differ_where_a_skip_is_handed_on(self) -> None:
        torch.manual_seed(0)
        genotype = PUBLISHED["AutoGAN-A"]  # cell 2 receives a skip, and feeds cell 3
        before, after = (Generator(3, 6, 16, 2, 1, genotype, tap) for tap in ("before", "after"))
        after.load_state_dict(before.state_dict())
        z = torch.randn(4, 16)
        assert not torch.allclose(before(z), after(z))

    def test_every_genotype_can_be_trained(self) -> None:
        # With sums in place, 73.6 % of them raise an error in the backward pass.
        shared = Generator(3, 3, 8, 2, 1)
        for genotype in random_genotypes(150):
            shared.zero_grad(set_to_none=True)
            shared(torch.randn(2, 8), genotype).square().mean().backward()
            used = {name for name, p in shared.named_parameters() if p.grad is not None}
            alone = Generator(3, 3, 8, 2, 1, genotype)
            assert used == {name for name, _ in alone.named_parameters()}

    def test_gradients_are_those_of_the_paper_s_order(self) -> None:
        torch.manual_seed(0)
        z = torch.randn(3, 8, dtype=torch.float64)
        for genotype in random_genotypes(20):
            fast, plain = (Generator(3, 4, 8, 2, 1, genotype, plain=p).double() for p in (False, True))
            plain.load_state_dict(fast.state_dict())
            for network in (fast, plain):
                network(z).square().sum().backward()
            for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-7, atol=1e-9)

    def test_initialisation(self) -> None:
        network = Generator(2, 64, genotype=Genotype((CellGenotype(norm="batch", up="deconv"),) * 2))
        deconv = network.cells[0].first["post"].deconv.weight.clone()  # type: ignore[union-attr,index]
        initialise(network, torch.Generator().manual_seed(0))
        conv = network.cells[0].first["post"].conv.weight  # type: ignore[union-attr,index]
        limit = (6 / (2 * 64 * 9)) ** 0.5
        assert float(conv.abs().max()) <= limit
        assert float(conv.std()) == pytest.approx(limit / 3**0.5, rel=0.02)
        assert float((network.norm.weight - 1).std()) == pytest.approx(0.02, rel=0.3)
        assert torch.equal(deconv, network.cells[0].first["post"].deconv.weight)  # type: ignore[union-attr,index]


class TestDiscriminator:
    def test_path_grows(self) -> None:
        network = Discriminator(3, 8)
        assert [network.path(stage) for stage in range(3)] == [[0, 3], [0, 1, 3], [0, 1, 2, 3]]
        for stage, size in ((0, 8), (1, 16), (2, 32)):
            assert network(torch.randn(5, 3, size, size), stage).shape == (5,)

    def test_the_short_way_is_the_plain_one(self) -> None:
        fast, plain = (Discriminator(3, 8, normalise=False, plain=p).double() for p in (False, True))
        plain.load_state_dict(fast.state_dict())
        images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
        torch.testing.assert_close(fast(images, 2), plain(images, 2), rtol=1e-10, atol=1e-12)

    def test_scores_are_written_down_from_the_paper(self) -> None:
        network = Discriminator(3, 4, normalise=False).double()
        state = dict(network.state_dict())
        x = images = torch.randn(4, 3, 16, 16, dtype=torch.float64)

        def conv(h: Tensor, name: str, padding: int) -> Tensor:
            return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

        h = F.avg_pool2d(conv(torch.relu(conv(x, "blocks.0.conv1", 1)), "blocks.0.conv2", 1), 2)
        x = h + conv(F.avg_pool2d(x, 2), "blocks.0.shortcut", 0)
        h = conv(torch.relu(conv(torch.relu(x), "blocks.1.conv1", 1)), "blocks.1.conv2", 1)
        x = F.avg_pool2d(h, 2) + F.avg_pool2d(conv(x, "blocks.1.shortcut", 0), 2)
        x = x + conv(torch.relu(conv(torch.relu(x), "blocks.3.conv1", 1)), "blocks.3.conv2", 1)
        expected = torch.relu(x).sum((2, 3)) @ state["head.weight"].T
        torch.testing.assert_close(network(images, 1), expected[:, 0], rtol=1e-10, atol=1e-12)

    def test_spectral_norms_are_one_after_training_passes(self) -> None:
        torch.manual_seed(0)
        network = Discriminator(2, 8)
        for _ in range(30):
            network(torch.randn(2, 3, 8, 8), 1)
        network.eval()
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                assert float(torch.linalg.matrix_norm(module.weight.flatten(1), 2)) == pytest.approx(1, abs=0.05)

    def test_initialised_before_it_is_normalised(self) -> None:
        torch.manual_seed(0)
        network = Discriminator(2, 64)
        original = network.blocks[0].conv2.parametrizations.weight.original  # type: ignore[union-attr]
        assert float(original.abs().max()) <= (6 / (2 * 64 * 9)) ** 0.5


class TestHinge:
    def test_values(self) -> None:
        zeros = torch.zeros(5)
        assert float(hinge_discriminator(zeros, zeros)) == 2
        assert float(hinge_discriminator(torch.full((5,), 1.5), torch.full((5,), -2.0))) == 0  # it has won
        assert float(hinge_generator(torch.tensor([1.0, 3.0]))) == -2

    def test_gradient_is_zero_beyond_the_margins(self) -> None:
        real = torch.tensor([0.5, 1.5], requires_grad=True)
        fake = torch.tensor([-0.5, -1.5], requires_grad=True)
        hinge_discriminator(real, fake).backward()
        assert real.grad is not None
        assert fake.grad is not None
        assert real.grad.tolist() == [-0.5, 0.0]
        assert fake.grad.tolist() == [0.5, 0.0]


class TestAdversaries:
    def make(self, seed: int = 0) -> Adversaries:
        torch.manual_seed(seed)
        settings = AdversarialSettings(batch=8, generator_batch=8)
        return Adversaries(Generator(2, 4, 8, 2, 1), Discriminator(2, 4, 1), settings, torch.device("cpu"), 1)

    def test_a_step_trains_one_network_and_leaves_the_other_alone(self) -> None:
        both, genotype = self.make(), random_genotypes(1, 2)[0]
        both.train()
        before = {n: p.clone() for n, p in both.generator.named_parameters()}
        both.discriminator_step(torch.randn(8, 1, 8, 8), torch.randn(8, 8), [genotype])
        assert all(torch.equal(before[n], p) for n, p in both.generator.named_parameters())
        critic = {n: p.clone() for n, p in both.discriminator.named_parameters()}
        both.generator_step(torch.randn(8, 8), [genotype])
        assert all(torch.equal(critic[n], p) for n, p in both.discriminator.named_parameters())
        changed = {n for n, p in both.generator.named_parameters() if not torch.equal(before[n], p)}
        assert changed <= {n for n, _ in Generator(2, 4, 8, 2, 1, genotype).named_parameters()}
        assert changed

    @pytest.mark.parametrize(("count", "images"), [(3, 8), (6, 8), (8, 8), (3, 2)])
    def test_every_genotype_makes_a_part_of_the_images(self, count: int, images: int) -> None:
        both, genotypes = self.make(), random_genotypes(count, 2)
        made: list[int] = []
        forward = both.generator.forward

        def spy(z: torch.Tensor, genotype: Any = None) -> torch.Tensor:
            made.append(len(z))
            return forward(z, genotype)

        both.generator.forward = spy  # type: ignore[method-assign]
        both.generator_step(torch.randn(images, 8), genotypes)
        assert sum(made) == images
        assert len(made) == min(count, images)
        assert max(made) - min(made) <= 1

    def test_one_batch_of_real_and_generated_scores_as_two(self) -> None:
        both = self.make()
        both.discriminator.eval()  # no step of the power iteration between the passes
        real, fake = torch.randn(8, 1, 8, 8), torch.randn(8, 1, 8, 8)
        together = both.discriminator(torch.cat([real, fake]), 1)
        apart = torch.cat([both.discriminator(real, 1), both.discriminator(fake, 1)])
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)

    def test_channels_last_changes_only_rounding(self) -> None:
        torch.manual_seed(0)
        z, images = torch.randn(4, 8), torch.randn(4, 1, 8, 8)
        plain_g, plain_d = Generator(2, 4, 8, 2, 1), Discriminator(2, 4, 1, normalise=False)
        for genotype in random_genotypes(10, 2):
            expected, scores = plain_g(z, genotype), plain_d(images, 1)
            last_g = copy.deepcopy(plain_g).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            last_d = copy.deepcopy(plain_d).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            torch.testing.assert_close(last_g(z, genotype), expected, rtol=1e-4, atol=1e-5)
            found = last_d(images.contiguous(memory_format=torch.channels_last), 1)
            torch.testing.assert_close(found, scores, rtol=1e-4, atol=1e-5)
