"""Training of shared weights through the one-shot driver against a plain loop over the same sampled networks.

The plain loop is what one would write by hand for these networks: batches of real images, noise, hinge losses, two Adam
optimizers, on the same shared modules and the architectures that the driver sampled. Neither side samples less, watches
more or trains other weights: afterwards the weights are compared bit by bit. The driver's side includes sampling by the
LSTM, the loss windows of the dynamic reset, and what it keeps for the report.

    python benchmarks/gan_step.py [--steps N] [--repeats N] [--threads N] [--channels N] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.config import load_config
from nichenas.core.context import Context
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.provenance import device_name
from nichenas.core.methods.one_shot import OneShotSettings
from nichenas.core.methods.one_shot_loop import OneShotLoop
from nichenas.core.seeds import derive_seed
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.session import Session
from nichenas.core.strategies import Reinforce
from nichenas.domains.gan.domain import GanDomain
from nichenas.domains.gan.shared import SharedGan
from nichenas.domains.gan.space import genotype_of


def make_driver(arguments: argparse.Namespace, stage: int) -> OneShotLoop:
    """Returns a driver of the digits search that stands at the beginning of a stage."""
    words = [
        f"domain.shared.channels={arguments.channels}",
        f"domain.shared.discriminator_channels={arguments.channels}",
        f"search.one_shot.shared_steps={arguments.steps}",
        f"domain.cells={arguments.stages}",
        f"search.one_shot.iterations={[1] * arguments.stages}",
    ]
    resolved = load_config("gan/digits", words)
    domain, _ = prepare_domain(resolved)
    search = resolved.search
    assert isinstance(domain, GanDomain)
    assert isinstance(search, OneShotSettings)
    options = Reinforce.Options.model_validate(search.options["reinforce"])
    driver = OneShotLoop(Session(domain=domain), search.one_shot, lambda *parts: Reinforce(*parts, options))
    for following in range(1, stage + 1):
        driver._stage = following
        driver.shared.begin_stage(following)
    driver.strategy = driver._strategy([], [])
    return driver


def plain_loop(shared: SharedGan, genotypes: list[Any], stage: int) -> None:
    """Trains as a hand-written loop does; draws what the domain draws, so that weights can be compared."""
    both = shared.adversaries
    settings, generator, discriminator = both.settings, both.generator, both.discriminator
    pixels = shared._train_images.pixels
    order = numpy_generator(0, "real 0", 0).permutation(len(pixels))
    epoch, position = 0, 0
    draws = Context(0).torch("shared noise")
    generator.train()
    discriminator.train()
    for step, genotype in enumerate(genotypes):
        if position + settings.batch > len(pixels):
            epoch, position = epoch + 1, 0
            order = numpy_generator(0, "real 0", epoch).permutation(len(pixels))
        chosen = torch.from_numpy(order[position : position + settings.batch])
        position += settings.batch
        real = (pixels[chosen].float() / 255 - 0.5) / 0.5
        z = torch.randn(settings.batch, generator.latent, generator=draws)
        discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = generator(z, genotype)
        images = torch.cat([real, fake]).contiguous(memory_format=torch.channels_last)
        scores = discriminator(images, stage)
        loss = F.relu(1 - scores[: len(real)]).mean() + F.relu(1 + scores[len(real) :]).mean()
        both.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        both.discriminator_optimizer.step()
        if step % settings.critic_steps == 0:
            z = torch.randn(settings.generator_batch, generator.latent, generator=draws)
            discriminator.requires_grad_(False)
            loss = -discriminator(generator(z, genotype), stage).mean()
            both.generator_optimizer.zero_grad(set_to_none=True)
            loss.backward()
            both.generator_optimizer.step()


def weights(driver: OneShotLoop) -> dict[str, Tensor]:
    """Returns all weights of both networks."""
    shared = driver.shared
    assert isinstance(shared, SharedGan)
    both = shared.adversaries
    return {**both.generator.state_dict(), **{f"d.{n}": t for n, t in both.discriminator.state_dict().items()}}


def main() -> None:
    """Prints the ratios and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {
        "device": device_name(torch.device("cpu")),
        "threads": arguments.threads,
        "channels": arguments.channels,
        "steps": arguments.steps,
        "stages": [],
        "same_weights": True,
    }
    for stage in range(arguments.stages):
        times: dict[str, list[float]] = {"driver": [], "plain": []}
        for repeat in range(arguments.repeats + 1):
            driver = make_driver(arguments, stage)
            began = time.perf_counter()
            driver._train()
            driver_s = time.perf_counter() - began
            found = weights(driver)
            driver = make_driver(arguments, stage)
            sampled = driver.strategy.sample(arguments.steps, derive_seed(0, "shared sample", 0))
            genotypes = [genotype_of(architecture) for architecture in sampled]
            assert isinstance(driver.shared, SharedGan)
            began = time.perf_counter()
            plain_loop(driver.shared, genotypes, stage)
            plain_s = time.perf_counter() - began
            expected = weights(driver)
            same = all(torch.equal(found[name], tensor) for name, tensor in expected.items())
            result["same_weights"] = result["same_weights"] and same
            if repeat:  # the first warms up
                times["driver"].append(driver_s)
                times["plain"].append(plain_s)
        row = {name: statistics.median(values) / arguments.steps for name, values in times.items()}
        row["ratio"] = row["driver"] / row["plain"]
        result["stages"].append(row)
        print(
            f"stage {stage} ({4 * 2**stage} px): driver {1e3 * row['driver']:.2f} ms a step, "
            f"plain loop {1e3 * row['plain']:.2f} ms, {row['ratio']:.3f}x"
        )
    print("weights are the same bit by bit" if result["same_weights"] else "WEIGHTS DIFFER")
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
