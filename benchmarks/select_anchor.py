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

PAIRS_A_KIND, FOLDS = 3000, 10


def random_pairs(people: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten folds, one after the other, each half pairs of one person and half of two; nobody is in two folds."""
    random = np.random.default_rng(seed)
    folds = []
    for group in np.array_split(random.permutation(np.unique(people)), FOLDS):
        members = np.flatnonzero(np.isin(people, group))
        several = [photos for photos in (np.flatnonzero(people == one) for one in group) if len(photos) > 1]
        half = PAIRS_A_KIND // FOLDS
        same = [random.choice(several[random.integers(len(several))], 2, replace=False) for _ in range(half)]
        drawn = random.choice(members, (8 * half, 2))
        other = drawn[people[drawn[:, 0]] != people[drawn[:, 1]]][:half]
        folds.append(np.concatenate([np.array(same), other]))
    pairs = np.concatenate(folds)
    half = PAIRS_A_KIND // FOLDS
    return pairs[:, 0], pairs[:, 1], np.tile(np.repeat([True, False], half), FOLDS)


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
