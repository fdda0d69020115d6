"""Choose the anchored loss weights on part P3, by the metric that docs/log.md fixed before any candidate was trained.

    python benchmarks/select_anchor.py P3 JUDGE MODEL [MODEL ...]

P3: a face set of people that serve for nothing else. JUDGE: a recogniser trained on part P2. Each MODEL masks nothing
itself: one masked set (seed 0) is reconstructed by all. Prints, per model, the ten-fold verification accuracy between
reconstructions on 3,000 + 3,000 random pairs (seed 0).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from facemae.faces.faceset import FaceSet
from facemae.measure import flip_sum, ten_fold
from facemae.spec.execution import Execution
from facemae.spec.recipe import EmbedSpec, MaskSpec, ReconstructSpec
from facemae.stages.embed import vectors_of
from facemae.stages.mask import mask
from facemae.stages.reconstruct import reconstruct

PAIRS_A_KIND = 3000


def random_pairs(people: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half pairs of one person, half of two, in alternation so that every fold holds both."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(people == person) for person in np.unique(people)]
    several = [group for group in groups if len(group) > 1]
    same = np.array([random.choice(several[random.integers(len(several))], 2, False) for _ in range(PAIRS_A_KIND)])
    other = random.integers(len(people), size=(4 * PAIRS_A_KIND, 2))
    other = other[people[other[:, 0]] != people[other[:, 1]]][:PAIRS_A_KIND]
    pairs = np.stack([same, other], axis=1).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.tile([True, False], PAIRS_A_KIND)


def unit_vectors(judge: Path, faces: Path, scratch: Path) -> np.ndarray:
    """Flip-summed unit embeddings of a set."""
    vectors = np.asarray(vectors_of(judge, faces, EmbedSpec(), Execution(), scratch / "vectors"))
    return flip_sum(vectors[:, 0], vectors[:, 1])


def main(p3: Path, judge: Path, models: list[Path]) -> None:
    """Print one line a model."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        masked = mask(p3, scratch / "masked", MaskSpec(seed=0), Execution())
        people = FaceSet.open(masked).identities.astype(np.int64)
        left, right, same = random_pairs(people, 0)
        for model in models:
            released = reconstruct(model, masked, scratch / model.name, ReconstructSpec(), Execution())
            unit = unit_vectors(judge, released, scratch)
            found = ten_fold(
                unit[left], unit[right], same, people_a=people[left], people_b=people[right], fars=(), seed=0
            )
            rate = found.accuracy
            print(f"{model.name}: {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}]", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
