"""Compile the embedded skeleton from an OpenSim model.

    python data_scripts/compile_skeleton.py LaiUhlrich2022.osim --markers LaiUhlrich2022_Vicon_39.osim

writes bige/assets/skeleton.json.gz: joints, masses, ranges, contact spheres and muscle names as numbers
(no meshes, no muscle paths). `--markers` takes the marker set from a second model with the same bodies.
The same models give the same bytes.
"""
import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from bige.cli import explain
from bige.files import InputError
from bige.skeleton import Skeleton

ASSET = Path(__file__).resolve().parents[1] / "bige" / "assets" / "skeleton.json.gz"


def with_markers_of(skeleton: Skeleton, other: Skeleton) -> Skeleton:
    """`skeleton` with the markers of `other`, which must have the same joints to 1e-5 m in random poses."""
    poses = np.random.default_rng(0).uniform(*skeleton.ranges.T, size=(100, len(skeleton.ranges)))
    if skeleton.body_names != other.body_names:
        raise InputError(other.name, "other bodies", "the bodies of " + skeleton.name,
                         "take markers from a model with the same bodies")
    apart = abs(skeleton.body_transforms(poses) - other.body_transforms(poses)).max()
    if apart > 1e-5:
        raise InputError(other.name, f"bodies {apart:.1g} m apart", "the joints of " + skeleton.name,
                         "take markers from an unscaled copy of the model")
    return replace(skeleton, markers=other.markers)


def main() -> None:
    """Compile and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--markers", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    options = parser.parse_args()
    try:
        skeleton = Skeleton.from_osim(options.model)
        if options.markers:
            skeleton = with_markers_of(skeleton, Skeleton.from_osim(options.markers))
        skeleton.save(options.out)
    except (InputError, OSError) as error:
        parser.exit(2, f"{explain(error)}\n")
    written = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(f"{options.out.name}: {skeleton}, digest {skeleton.digest[:12]}, sha256 {written[:12]}")


if __name__ == "__main__":
    main()
