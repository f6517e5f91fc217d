"""The diffusion process and guided sampling, against closed forms and a Gaussian mixture's exact score."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from papers.diffusion.guidance import ancestral_step, ddim_step, samples
from papers.diffusion.images import data
from papers.diffusion.process import cosine, discretised_nll, gaussian_kl, hybrid, linear, process
from shared.tree import Array


def test_schedules_have_the_references_values() -> None:
    abar = process("linear", 1000).alpha_bar
    np.testing.assert_allclose(abar[[249, 499, 749, 999]], [0.5241, 0.0786, 0.00335, 4.04e-5], rtol=2e-3)
    np.testing.assert_allclose(linear(1000)[[0, -1]], [1e-4, 0.02])
    abar = process("cosine", 1000).alpha_bar
    np.testing.assert_allclose(abar[[249, 499, 749, 998]], [0.8470, 0.4938, 0.1443, 2.43e-6], rtol=1e-3)
    assert cosine(1000).max() == 0.999


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_x_T_is_standard_normal(schedule: str) -> None:
    """q(x_T) ~ N(0, I), whatever the data: here digits, through the chain of single steps."""
    rng, diffusing = np.random.default_rng(0), process(schedule, 200)
    x = data("digits").train[:300].astype(np.float64)
    for beta in diffusing.beta:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.standard_normal(x.shape)
    assert stats.kstest(x.ravel(), "norm").pvalue > 0.01
    correlation = np.corrcoef(x.reshape(300, -1).T) - np.eye(64)
    assert np.abs(correlation).max() < 5 / np.sqrt(300)
    assert (diffusing.prior_bits(data("digits").train[:9]) < 1e-3).all()


def test_q_sample_is_the_chain_of_single_steps() -> None:
    rng, diffusing = np.random.default_rng(0), process("cosine", 20)
    x0 = np.full((20_000, 1), 0.7)
    x = x0
    for t in range(12):
        x = np.sqrt(1 - diffusing.beta[t]) * x + np.sqrt(diffusing.beta[t]) * rng.standard_normal(x.shape)
    at_once = diffusing.q_sample(x0, np.full(len(x0), 11), rng.standard_normal(x0.shape))
    for y in (x, at_once):
        np.testing.assert_allclose(y.mean(), np.sqrt(diffusing.alpha_bar[11]) * 0.7, atol=4 / np.sqrt(len(x0)))
        np.testing.assert_allclose(y.var(), 1 - diffusing.alpha_bar[11], rtol=0.04)


def test_the_posterior_is_bayes_rule() -> None:
    """q(x_(t-1) | x_t, x_0) in closed form against q(x_t | x_(t-1)) q(x_(t-1) | x_0) on a grid."""
    diffusing, t, x0, x = process("linear", 50), 20, 0.3, -0.6
    grid = np.linspace(-6, 6, 20_001)
    abar, alpha = diffusing.alpha_bar_before[t], 1 - diffusing.beta[t]
    density = stats.norm.pdf(x, np.sqrt(alpha) * grid, np.sqrt(1 - alpha))
    density *= stats.norm.pdf(grid, np.sqrt(abar) * x0, np.sqrt(1 - abar))
    density /= density.sum()
    mean = (density * grid).sum()
    found = diffusing.posterior_mean(np.array([[x0]]), np.array([[x]]), np.array([t]))
    np.testing.assert_allclose(found, mean, rtol=1e-8)
    np.testing.assert_allclose(diffusing.beta_tilde[t], (density * (grid - mean) ** 2).sum(), rtol=1e-8)


def test_noise_and_image_are_told_apart_both_ways() -> None:
    rng, diffusing = np.random.default_rng(0), process("cosine", 100)
    x0, noise, t = rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), np.arange(0, 100, 20)
    x = diffusing.q_sample(x0, t, noise)
    np.testing.assert_allclose(diffusing.predict_x0(x, t, noise), x0)
    np.testing.assert_allclose(diffusing.predict_noise(x, t, x0), noise)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_respacing_keeps_the_noise_of_the_times_it_visits(steps: int) -> None:
    whole = process("cosine", 50)
    some = whole.respaced(steps)
    visited = np.searchsorted(whole.times, some.times)
    assert len(some.beta) == steps
    assert visited[-1] == 49
    assert (visited[0] == 0) or steps == 1
    np.testing.assert_allclose(some.alpha_bar, whole.alpha_bar[visited])
    assert np.isfinite(some.log_beta_tilde).all()
    if steps == 50:
        np.testing.assert_allclose(some.beta, whole.beta)


@pytest.mark.parametrize("steps", [0, 51])
def test_more_steps_than_there_are_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"^respaced: steps must be between 1 and T = 50, got {steps}$"):
        process("linear", 50).respaced(steps)


def test_variance_lies_between_its_two_bounds() -> None:
    diffusing, t = process("cosine", 100), np.array([0, 50, 99])
    for v, bound in ((1.0, diffusing.log_beta), (-1.0, diffusing.log_beta_tilde)):
        np.testing.assert_allclose(diffusing.log_variance(np.full((3, 2), v), t), np.stack([bound[t]] * 2, 1))


def test_kl_and_nll_against_scipy() -> None:
    m, v, m2, v2 = 0.3, -1.2, -0.4, 0.5
    grid = np.linspace(-12, 12, 200_001)
    p, q = stats.norm(m, np.exp(v / 2)), stats.norm(m2, np.exp(v2 / 2))
    integral = np.trapezoid(p.pdf(grid) * (p.logpdf(grid) - q.logpdf(grid)), grid)
    np.testing.assert_allclose(gaussian_kl(*map(np.array, (m, v, m2, v2)))[0], integral, rtol=1e-6)
    levels = np.linspace(-1, 1, 17)
    nll, _ = discretised_nll(levels, np.full(17, 0.2), np.full(17, -1.0), 2 / 16)
    np.testing.assert_allclose(np.exp(-nll).sum(), 1)  # all cells together hold all the mass
    cell = stats.norm(0.2, np.exp(-0.5))
    np.testing.assert_allclose(np.exp(-nll[5]), cell.cdf(levels[5] + 1 / 16) - cell.cdf(levels[5] - 1 / 16))


def test_gradient_of_the_hybrid_loss_stops_at_the_mean() -> None:
    """In v it is that of L_simple + 0.001 T L_t, in the noise that of L_simple alone; the first step's term too."""
    rng, diffusing = np.random.default_rng(0), process("cosine", 30)
    x0 = np.round(8 * rng.uniform(-1, 1, (4, 2, 2, 1))) / 8
    t, noise = np.array([0, 3, 15, 29]), rng.standard_normal(x0.shape)
    x = diffusing.q_sample(x0, t, noise)
    output = 0.5 * rng.standard_normal((4, 2, 2, 2))
    dloss = rng.standard_normal(4)

    def value(eps: Array, v: Array, weight: float) -> float:
        loss = hybrid(diffusing, np.concatenate([eps, v], -1), x0, x, t, noise, 1 / 8)
        return float(((loss.simple + weight * loss.bits) * dloss).sum())

    eps, v = np.split(output, 2, -1)
    given = hybrid(diffusing, output, x0, x, t, noise, 1 / 8).pullback(dloss)
    for index in np.ndindex(eps.shape):
        step = np.zeros_like(eps)
        step[index] = 1e-6
        of_eps = (value(eps + step, v, 0) - value(eps - step, v, 0)) / 2e-6
        of_v = (value(eps, v + step, 0.03) - value(eps, v - step, 0.03)) / 2e-6
        np.testing.assert_allclose(given[(*index[:3], 0)], of_eps, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(given[(*index[:3], 1)], of_v, rtol=1e-5, atol=1e-8)


def test_an_exact_network_reaches_the_entropy_of_its_data() -> None:
    """Data of independent fair bits at -1 and 1: with the posterior mean of x_0 the bound is close to 1 bit a pixel."""
    rng, diffusing = np.random.default_rng(0), process("cosine", 200)
    x0 = rng.choice([-1.0, 1.0], (400, 8))
    total = diffusing.prior_bits(x0).mean()
    for t in range(200):
        index = np.full(len(x0), t)
        x = diffusing.q_sample(x0, index, rng.standard_normal(x0.shape))
        abar = diffusing.alpha_bar[t]
        expected = np.tanh(x * np.sqrt(abar) / (1 - abar))
        mean = diffusing.posterior_mean(expected, x, index)
        log_variance = np.full_like(x, diffusing.log_beta_tilde[t])
        total += diffusing.bits(x0, x, index, mean, log_variance, 2.0)[0].mean()
    assert 0.99 < total < 1.1


MEANS = np.array([[-0.6, -0.2], [0.5, 0.6], [0.4, -0.7]])
STD, WEIGHTS = 0.25, np.array([0.5, 0.3, 0.2])


class Mixture:
    """q_t(x) = sum over k of w_k N(sqrt(abar) m_k, (abar std^2 + 1 - abar) I), and what follows from it exactly."""

    def __init__(self, steps: int) -> None:
        self.process = process("cosine", steps)

    def parts(self, x: Array, t: Array) -> tuple[Array, Array]:
        """(p(k | x_t) (N, K), the score of each component (N, K, 2))."""
        abar = self.process.alpha_bar[t][:, None]
        variance = abar * STD**2 + 1 - abar
        score = (np.sqrt(abar)[..., None] * MEANS - x[:, None]) / variance[..., None]
        logits = np.log(WEIGHTS) - 0.5 * (score**2).sum(-1) * variance
        p = np.exp(logits - logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True), score

    def predict(self, x: Array, t: Array) -> tuple[Array, Array]:
        """The noise that the score of q_t says, and log beta_tilde."""
        p, score = self.parts(x, t)
        eps = -np.sqrt(1 - self.process.alpha_bar[t])[:, None] * (p[..., None] * score).sum(1)
        return eps, np.broadcast_to(self.process.log_beta_tilde[t][:, None], x.shape)

    def gradient(self, k: int) -> Callable[[Array, Array], Array]:
        """Of log p(k | x_t): the score of component k minus that of the mixture."""

        def of(x: Array, t: Array) -> Array:
            p, score = self.parts(x, t)
            return score[:, k] - (p[..., None] * score).sum(1)

        return of


def last(walk: object) -> Array:
    *_, x = walk
    return x


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_samples_follow_the_data(sampler: str) -> None:
    mixture, n = Mixture(400), 3000
    rng = np.random.default_rng(0)
    x = last(samples(mixture.process, mixture.predict, rng.standard_normal((n, 2)), rng, sampler, clip=False))
    nearest = ((x[:, None] - MEANS) ** 2).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=3) / n
    drawn = MEANS[rng.choice(3, n, p=WEIGHTS)] + STD * rng.standard_normal((n, 2))
    expected = np.bincount(((drawn[:, None] - MEANS) ** 2).sum(-1).argmin(1), minlength=3) / n
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.5 * 0.5 * 2 / n))
    for axis in (0, 1):
        assert stats.ks_2samp(x[:, axis], drawn[:, axis]).pvalue > 0.01


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("k", [0, 2])
def test_guidance_by_the_exact_noisy_classifier_at_1_gives_the_conditional(sampler: str, k: int) -> None:
    """p(x | y = k) = N(m_k, std^2 I), to Monte Carlo error: both moments and the whole distribution."""
    mixture, n = Mixture(400), 3000
    rng = np.random.default_rng(k)
    noise = rng.standard_normal((n, 2))
    x = last(samples(mixture.process, mixture.predict, noise, rng, sampler, mixture.gradient(k), clip=False))
    np.testing.assert_allclose(x.mean(0), MEANS[k], atol=4 * STD / np.sqrt(n))
    np.testing.assert_allclose(x.std(0), STD, rtol=4 / np.sqrt(2 * n))
    for axis in (0, 1):
        assert stats.kstest(x[:, axis], "norm", args=(MEANS[k, axis], STD)).pvalue > 0.01


def test_a_larger_scale_is_surer_of_the_class_and_without_sigma_it_goes_astray() -> None:
    mixture, shape = Mixture(100), (500, 2)

    def guided(scale: float, with_sigma: bool = True) -> Array:
        rng = np.random.default_rng(0)
        how = mixture.gradient(1), scale, with_sigma, False
        return last(samples(mixture.process, mixture.predict, rng.standard_normal(shape), rng, "ancestral", *how))

    doubt = [1 - mixture.parts(guided(s), np.zeros(500, int))[0][:, 1].mean() for s in (0.0, 1.0, 4.0)]
    assert doubt[0] > 0.6
    assert doubt[1] < 0.1
    assert doubt[2] < 0.5 * doubt[1]
    astray = [np.abs(guided(1.0, with_sigma).mean(0) - MEANS[1]).max() for with_sigma in (True, False)]
    assert astray[0] < 4 * STD / np.sqrt(500)
    assert astray[1] > 0.5 * STD


def test_a_sampler_without_a_name_is_refused() -> None:
    mixture, rng = Mixture(20), np.random.default_rng(3)
    with pytest.raises(ValueError, match=r"^samples: sampler must be one of ancestral, ddim, got DDIM$"):
        next(samples(mixture.process, mixture.predict, np.zeros((1, 2)), rng, "DDIM"))


def test_scale_0_is_no_guidance_and_noise_is_the_seeds() -> None:
    mixture = Mixture(20)

    def walk(sampler: str, **more: object) -> Array:
        rng = np.random.default_rng(3)
        return last(samples(mixture.process, mixture.predict, rng.standard_normal((50, 2)), rng, sampler, **more))

    for sampler in ("ancestral", "ddim"):
        plain = walk(sampler)
        np.testing.assert_array_equal(walk(sampler, gradient=mixture.gradient(0), scale=0), plain)
        assert not np.array_equal(walk(sampler, gradient=mixture.gradient(0), scale=1), plain)
        assert np.abs(plain).max() <= 1  # the last x_0 is cut to the range of pixels
    assert np.abs(walk("ddim", gradient=mixture.gradient(0), scale=1000)).max() <= 1  # and after guidance moved it


def test_algorithm_2_moves_the_noise_and_algorithm_1_the_mean() -> None:
    """One step of each against its formula in scalars."""
    diffusing = process("linear", 10)
    eps, log_variance, g, x, t, s = 0.3, -2.0, 0.7, 0.4, 5, 2.5
    abar, before = diffusing.alpha_bar[t], diffusing.alpha_bar_before[t]

    def predict(x: Array, t: Array) -> tuple[Array, Array]:
        return np.full_like(x, eps), np.full_like(x, log_variance)

    def gradient(x: Array, t: Array) -> Array:
        return np.full_like(x, g)

    at = np.array([[x]])
    moved = eps - np.sqrt(1 - abar) * s * g
    x0 = (x - np.sqrt(1 - abar) * moved) / np.sqrt(abar)
    expected = np.sqrt(before) * x0 + np.sqrt(1 - before) * moved
    np.testing.assert_allclose(ddim_step(diffusing, predict, at, t, gradient, s, clip=False), expected)
    x0 = (x - np.sqrt(1 - abar) * eps) / np.sqrt(abar)
    mean = diffusing.posterior_mean(np.array([[x0]]), at, np.array([t]))
    step = ancestral_step(diffusing, predict, at, t, np.array([[1.5]]), gradient, s, clip=False)
    np.testing.assert_allclose(step, mean + s * np.exp(log_variance) * g + np.exp(log_variance / 2) * 1.5)
