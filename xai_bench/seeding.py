"""Randomness that depends on (seed, picture id) only: never on order, batch, worker or global state."""

import hashlib

import numpy as np
import torch


def derive(seed: int, picture_id: str) -> int:
    """A whole number in [0, 2**63) for one picture under one seed, by SHA-256: the same on every machine.

    >>> derive(0, "film 1")
    5570873032294059722
    """
    digest = hashlib.sha256(f"{seed}\0{picture_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, picture_id: str) -> torch.Generator:
    """A torch generator on the CPU of its own for one picture.

    >>> torch.rand(1, generator=generator(0, "a")) == torch.rand(1, generator=generator(0, "a"))
    tensor([True])
    """
    return torch.Generator().manual_seed(derive(seed, picture_id))


def numpy_generator(seed: int, picture_id: str) -> np.random.Generator:
    """A numpy generator of its own for one picture.

    >>> bool(numpy_generator(0, "a").random() == numpy_generator(0, "b").random())
    False
    """
    return np.random.default_rng(derive(seed, picture_id))
