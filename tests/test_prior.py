"""The prior: components, moments, exact conditioning, mirror images, and what is refused."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bige import prior as pr
from bige.dataset import toy_dataset
from bige.files import InputError
from bige.motion import COORDINATES
from bige.skeleton import Skeleton
from bige.vqvae import load_vqvae

FEW = settings(max_examples=15, deadline=None)
SMOOTHING = st.floats(0.05, 1)


def repetitions(n: int = 30, seed: int = 0) -> dict[str, torch.Tensor]:
    """Latents that vary in three ways, in two groups, with durations and excursions that follow from them."""
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, 3, generator=g).double()
    scores[: n // 2, 0] += 4
    latents = torch.einsum("nk,kcs->ncs", scores, torch.randn(3, 4, 5, generator=g).double())
    noise = 0.1 * torch.randn(2, n, generator=g).double()
    return {"latents": latents, "duration": (1 + 0.1 * scores[:, 0] + noise[0]).exp(),
            "excursion": 1.5 + 0.2 * scores[:, 1] + noise[1]}


def swapped(latents: torch.Tensor) -> torch.Tensor:
    """A mirror: it exchanges the first and the second half of the channels."""
    return latents.roll(latents.shape[1] // 2, 1)


def moments(prior: pr.MotionPrior) -> tuple[torch.Tensor, torch.Tensor]:
    mean = prior.weights @ prior.means
    off = prior.means - mean
    return mean, off.T @ (prior.weights[:, None] * off) + prior.factor @ prior.factor.T


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# components

@FEW
@given(st.integers(0, 1000), st.integers(1, 6))
def test_components_are_those_of_the_covariance(seed, rank):
    x = torch.randn(20, 6, generator=seeded(seed)).double() * torch.arange(1, 7)
    mean, V, scores = pr.principal_components(x, rank)
    values, vectors = np.linalg.eigh(np.cov(x.T.numpy()))
    assert torch.allclose(V @ V.T, torch.eye(rank).double(), atol=1e-9)
    assert np.allclose(scores.var(0), values[::-1][:rank])
    assert np.allclose(np.abs((V.numpy() * vectors.T[::-1][:rank]).sum(1)), 1)
    assert torch.allclose(scores, (x - mean) @ V.T)


def test_the_sign_of_a_component_does_not_depend_on_the_rows_order():
    x = torch.randn(20, 6, generator=seeded()).double()
    V, turned = (pr.principal_components(rows, 3)[1] for rows in (x, x.flip(0)))
    assert torch.allclose(V, turned) and (V.gather(1, V.abs().argmax(1, keepdim=True)) > 0).all()


def test_components_beyond_the_rows_are_left_out():
    x = torch.randn(4, 50, generator=seeded())
    assert len(pr.principal_components(x, 8)[1]) == 3


# the distribution

@FEW
@given(SMOOTHING)
def test_mean_and_covariance_do_not_depend_on_smoothing(smoothing):
    r = repetitions()
    mean, covariance = moments(pr.fit_prior(**r, smoothing=smoothing))
    z, _, scores = pr.principal_components(r["latents"].flatten(1), 8)
    rows = torch.cat([scores, r["duration"].log()[:, None], r["excursion"][:, None]], 1)
    assert torch.allclose(mean, rows.mean(0))
    assert torch.allclose(covariance, rows.T.cov(correction=0))


def test_samples_have_the_moments():
    r = repetitions()
    prior = pr.fit_prior(**r)
    z, duration, excursion = pr.sample_prior(prior, 20000, seeded())
    flat, recorded = z.flatten(1).double(), r["latents"].flatten(1)
    assert torch.allclose(flat.mean(0), recorded.mean(0), atol=0.1)
    assert torch.allclose(flat.T.cov(), recorded.T.cov(correction=0), atol=0.4)
    assert duration.log().mean() == pytest.approx(float(r["duration"].log().mean()), abs=0.01)
    assert excursion.std() == pytest.approx(float(r["excursion"].std()), rel=0.05)


def test_little_smoothing_repeats_the_recordings_and_full_smoothing_is_one_kernel():
    r = repetitions()
    near = pr.sample_prior(pr.fit_prior(**r, smoothing=0.01), 50, seeded())[0]
    assert torch.cdist(near.flatten(1).double(), r["latents"].flatten(1)).min(1).values.max() < 0.3
    whole = pr.fit_prior(**r, smoothing=1.0)
    assert torch.allclose(whole.means, whole.means[:1].expand_as(whole.means))


def test_the_seed_decides():
    prior = pr.fit_prior(**repetitions())
    a, b, c = (pr.sample_prior(prior, 5, seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a, b)) and not torch.equal(a[0], c[0])
    assert a[0].dtype == torch.float32 and a[1].dtype == a[2].dtype == torch.float64
    assert (a[1] > 0).all()


# requests

@FEW
@given(st.floats(1, 8), st.floats(0.5, 3))
def test_samples_are_as_requested(duration, excursion):
    prior = pr.fit_prior(**repetitions())
    _, durations, excursions = pr.sample_prior(prior, 20, seeded(), duration, excursion)
    assert torch.allclose(durations, torch.full_like(durations, duration))
    assert torch.allclose(excursions, torch.full_like(excursions, excursion))


def test_one_kernel_is_conditioned_as_in_the_textbook():
    prior = pr.fit_prior(**repetitions(), smoothing=1.0)
    mean, C = moments(prior)
    found, covariance = moments(pr.conditioned(prior, excursion=2.0))
    gain = C[:, -1] / C[-1, -1]
    assert torch.allclose(found, mean + gain * (2.0 - mean[-1]))
    assert torch.allclose(covariance, C - torch.outer(gain, C[-1]), atol=1e-9)


def test_a_mixture_is_conditioned_as_samples_that_happen_to_fit():
    prior = pr.fit_prior(**repetitions(), smoothing=0.4)
    z, duration, _ = pr.sample_prior(prior, 400000, seeded())
    fit = z[(duration / 3.5).log().abs() < 0.01].flatten(1)
    wanted = pr.sample_prior(prior, 20000, seeded(1), duration=3.5)[0].flatten(1)
    assert len(fit) > 2000
    for moment in (lambda x: x.mean(0), lambda x: x.std(0)):
        assert torch.allclose(moment(wanted), moment(fit), atol=0.12)
    assert (wanted.mean(0) - z.flatten(1).mean(0)).abs().max() > 0.5


def test_without_a_request_nothing_changes_and_the_order_does_not_matter():
    prior = pr.fit_prior(**repetitions())
    assert pr.conditioned(prior) is prior
    both = pr.conditioned(prior, 3.0, 1.5)
    for one in (pr.conditioned(pr.conditioned(prior, duration=3.0), excursion=1.5),
                pr.conditioned(pr.conditioned(prior, excursion=1.5), duration=3.0)):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(moments(one), moments(both)))


# mirror images

def test_a_mirror_image_is_as_likely_as_its_original():
    r = repetitions()
    prior = pr.fit_prior(**r, mirrored=swapped(r["latents"]), rank=3, unlike=3)
    z, *_ = pr.sample_prior(prior, 20000, seeded())
    a, b = z.flatten(1), swapped(z).flatten(1)
    assert torch.allclose(a.mean(0), b.mean(0), atol=0.15) and torch.allclose(a.T.cov(), b.T.cov(), atol=0.5)
    _, covariance = moments(prior)
    shared = torch.cat([covariance[:3, 3:6].flatten(), covariance[3:6, 6:].flatten()])
    assert shared.abs().max() < 1e-9


def test_no_unlike_component_makes_samples_their_own_mirror_image():
    r = repetitions()
    prior = pr.fit_prior(**r, mirrored=swapped(r["latents"]), unlike=0)
    z, *_ = pr.sample_prior(prior, 10, seeded())
    assert torch.allclose(z, swapped(z), atol=1e-5)


def test_repetitions_that_are_their_own_mirror_image_have_no_unlike_component():
    r = repetitions()
    even = (r["latents"] + swapped(r["latents"])) / 2
    assert len(pr.fit_prior(even, r["duration"], r["excursion"], mirrored=even).components) == 3


# from a data set

def test_the_prior_of_a_data_set():
    data, model = toy_dataset(participants=3, repetitions=4), load_vqvae()
    prior = pr.prior_of(data, model, rank=2, unlike=1)
    z, duration, excursion = pr.sample_prior(prior, 3, seeded(), duration=2.5)
    K = model.decode(z)
    assert z.shape == (3, 64, 49) and K.shape == (3, 196, 33) and K.isfinite().all()
    depth = pr.excursion_of(data.kinematics)
    assert torch.allclose(duration, torch.full((3,), 2.5).double())
    assert depth.min() - 3 * depth.std() < excursion.min() and excursion.max() < depth.max() + 3 * depth.std()


def test_excursion_of_arrays_and_tensors():
    q = np.zeros((2, 10, 33))
    q[1, 3] = 1.2
    assert pr.excursion_of(q).tolist() == [0, 1.2] and pr.excursion_of(torch.tensor(q)).tolist() == [0, 1.2]


# what is refused

@pytest.mark.parametrize("change, says", [
    ({"latents": torch.zeros(30, 20)}, "shape"), ({"duration": torch.ones(29)}, "shape"),
    ({"excursion": torch.full((30,), float("nan"))}, "NaN"), ({"duration": torch.zeros(30)}, "zero"),
    ({"latents": torch.ones(30, 4, 5)}, "the same"), ({"mirrored": torch.zeros(30, 4, 6)}, "mirrored"),
    ({"smoothing": 0.0}, "smoothing"), ({"smoothing": 1.5}, "smoothing"),
])
def test_what_is_no_set_of_repetitions_is_refused(change, says):
    with pytest.raises(InputError, match=says):
        pr.fit_prior(**repetitions() | change)


def test_two_repetitions_are_too_few():
    with pytest.raises(InputError, match="found 2 repetitions.*--start recorded"):
        pr.fit_prior(**{key: x[:2] for key, x in repetitions().items()})


@pytest.mark.parametrize("request_", [{"duration": 0.0}, {"duration": -1.0}, {"excursion": float("nan")},
                                      {"excursion": float("inf")}])
def test_a_request_that_no_repetition_can_have_is_refused(request_):
    with pytest.raises(InputError, match="above zero"):
        pr.conditioned(pr.fit_prior(**repetitions()), **request_)


# one more person, and joint stops

def test_one_more_person_is_farther_from_the_mean_by_the_formula():
    x = torch.randn(40000, 5, generator=seeded()).double()
    four, fifth = x[:, :4], x[:, 4]
    ratio = ((fifth - four.mean(1)).square().mean() / four.var(1, correction=0).mean()).sqrt()
    assert ratio == pytest.approx(pr.one_more_person(4), rel=0.02) and pr.one_more_person(1) == 1


def test_one_more_person_enlarges_all_deviations_and_leaves_the_mean():
    r = repetitions()
    (mean, C), (same, larger) = moments(pr.fit_prior(**r)), moments(pr.fit_prior(**r, people=4))
    assert torch.allclose(mean, same) and torch.allclose(larger, C * 5 / 3)


@FEW
@given(st.integers(0, 1000))
def test_within_stops_nothing_is_beyond_and_what_was_within_is_as_it_was(seed):
    q = torch.randn(3, 196, 2, generator=seeded(seed)).cumsum(1) / 5
    low, high = torch.tensor([-1.0, -torch.inf]), torch.tensor([50.0, 1.0])
    held = pr.within_stops(q, low, high)
    assert (held >= low - 1e-5).all() and (held <= high + 1e-5).all()
    inside = q.clamp(-1, 1)
    assert torch.equal(pr.within_stops(inside, low, high), inside)
    assert (held.diff(dim=1) - q.diff(dim=1)).abs().max() < (held - q).abs().max() / 4 + 1e-5


def test_joint_stops_are_those_of_the_model_or_what_was_recorded():
    skeleton = Skeleton.default()
    knee, move = COORDINATES.index("knee_angle_r"), COORDINATES.index("pelvis_ty")
    K = torch.zeros(1, 10, 33)
    K[0, 4, knee] = -0.1
    low, high = pr.joint_stops(K, skeleton)
    assert low[knee] == pytest.approx(-0.1) and high[knee] == pytest.approx(skeleton.ranges[knee, 1])
    assert low[move] == -torch.inf and high[move] == torch.inf
