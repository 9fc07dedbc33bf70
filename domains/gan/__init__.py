"""Generative adversarial networks: AutoGAN's space and multi-level search, IS, FID and KID."""

from nichenas.domains.gan.domain import GanDomain
from nichenas.domains.gan.genotypes import PUBLISHED
from nichenas.domains.gan.genotypes import Genotype
from nichenas.domains.gan.metrics import frechet_distance
from nichenas.domains.gan.metrics import inception_score
from nichenas.domains.gan.metrics import kernel_distance

DOMAIN = GanDomain

__all__ = ["DOMAIN", "PUBLISHED", "GanDomain", "Genotype", "frechet_distance", "inception_score", "kernel_distance"]
