"""Rebuild the shipped muscle geometry: measure an OpenSim model's muscles and fit polynomials to them.

    python data_scripts/fit_muscles.py LaiUhlrich2022.osim        (needs `pip install 'bige[opensim]'`)
"""
import sys
from pathlib import Path

import bige
from bige.muscles import fit_geometry

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = Path(bige.__file__).parent / "assets" / "muscles.npz"
    geometry = fit_geometry(sys.argv[1], refit=True)
    geometry.save(target)
    length, arm = 1e3 * geometry.record[:, 2:].max(0)
    print(f"{target}: {len(geometry.coefficients)} terms, {target.stat().st_size / 1e3:.0f} kB; "
          f"unseen poses: length within {length:.2f} mm RMS, moment arms within {arm:.2f} mm RMS")
