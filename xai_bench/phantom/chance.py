"""Random numbers that belong to a patient or to a film, and to one purpose, so that no draw can disturb another."""

import hashlib
from dataclasses import dataclass

import numpy as np

FILMS_PER_PATIENT = 10
"""A film's number is ten times its patient's number plus the film's place among the patient's films."""


@dataclass(frozen=True)
class Chance:
    """Generators of one film: `patient(purpose)` is the same for all films of a patient, `film(purpose)` is not."""

    seed: int
    number: int

    def patient(self, purpose: str) -> np.random.Generator:
        """What a patient keeps from film to film: anatomy."""
        return _generator(f"{self.seed}/patient/{self.number // FILMS_PER_PATIENT}/{purpose}")

    def film(self, purpose: str) -> np.random.Generator:
        """What changes with each film: pose, exposure, noise, marker."""
        return _generator(f"{self.seed}/film/{self.number}/{purpose}")


def _generator(key: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big")))
