"""The one filter gives each of its four callers the numbers that it had before, to the last bit."""
import numpy as np
import pytest
from scipy.signal import butter, filtfilt, sosfiltfilt

from bige.filters import anti_alias, lowpass, path_matrix, smooth_path

WALK = np.random.default_rng(0).normal(size=(157, 3)).cumsum(0)


@pytest.mark.parametrize("rate_hz, cutoff_hz", [(60, 4), (100, 6), (30, 12)])
def test_dynamics(rate_hz, cutoff_hz):
    b, a = butter(2, cutoff_hz / (rate_hz / 2))
    expected = filtfilt(b, a, WALK, axis=0, padlen=min(len(WALK) - 1, int(rate_hz / cutoff_hz * 2)))
    assert (lowpass(WALK, rate_hz, cutoff_hz) == expected).all()
    assert lowpass(WALK, rate_hz, rate_hz / 2) is WALK


@pytest.mark.parametrize("old, new", [(100, 60), (240, 100), (60, 20)])
def test_resampling(old, new):
    padding = min(len(WALK) - 2, int(3 * old / new) + 9)
    expected = sosfiltfilt(butter(4, 0.8 * new / old, output="sos"), WALK, axis=0, padlen=padding)
    assert (anti_alias(WALK, old, new) == expected).all()


@pytest.mark.parametrize("frames", [31, 157])
def test_paths(frames):
    path = np.stack([WALK[:frames], 2 * WALK[:frames]])
    sos = butter(2, 4 / 0.8 / 30, output="sos")
    expected = sosfiltfilt(sos, path, axis=-2, padlen=min(frames - 2, 30))
    assert (smooth_path(path, 60) == expected).all()
    impulses = sosfiltfilt(sos, np.eye(frames), axis=0, padlen=min(frames - 2, 30))
    assert (path_matrix(frames, 60) == impulses).all()


def test_short_paths_and_high_cutoffs_stay():
    assert smooth_path(WALK[:30], 60) is not None and (smooth_path(WALK[:30], 60) == WALK[:30]).all()
    assert (smooth_path(WALK, 60, 24.0) == WALK).all()
