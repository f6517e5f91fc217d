"""The variational auto-encoder of Kingma and Welling (2013) and the wake-sleep algorithm on the same two networks.

Symbols and equation numbers are the paper's. One hidden tanh layer each side (appendix C):

    encoder  q(z|x) = N(z; mu, diag sigma^2),  [mu, log sigma^2] = tanh(x W3 + b3) [W4, W5] + [b4, b5]
    decoder  p(x|z) = Bernoulli(sigmoid(tanh(z W1 + b1) W2 + b2))                                       (11)
             or N(x; sigmoid(mu'), diag sigma'^2), heads stacked like the encoder's                     (12)
    prior    p(z) = N(0, I)
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from shared.init import Normal
from shared.layers.activation import Tanh
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import LossPullback, bernoulli_with_logits, gaussian_kl, gaussian_nll
from shared.tree import Array, Tree

Likelihood = Literal["bernoulli", "gaussian"]


def sigmoid(s: Array) -> Array:
    """1 / (1 + exp(-s)), written with tanh so that nothing overflows."""
    return 0.5 * (1 + np.tanh(0.5 * s))


@dataclass(frozen=True)
class VAE:
    """Data x (N, n_x) in [0, 1], n_h hidden units each side, z (N, n_z). Parameters start at N(0, std^2).

    ValueError for a likelihood that is not one of ``Likelihood``.
    """

    n_x: int
    n_h: int
    n_z: int
    likelihood: Likelihood = "bernoulli"
    std: float = 0.1

    def __post_init__(self) -> None:
        if self.likelihood not in (choices := get_args(Likelihood)):
            raise ValueError(f"VAE: likelihood must be one of {', '.join(choices)}, got {self.likelihood}")

    @property
    def encoder(self) -> Sequential:
        normal = Normal(self.std)
        first = Linear(self.n_x, self.n_h, normal, input_is_data=True)
        return Sequential((first, Tanh(), Linear(self.n_h, 2 * self.n_z, normal)))

    @property
    def decoder(self) -> Sequential:
        normal = Normal(self.std)
        n_out = self.n_x if self.likelihood == "bernoulli" else 2 * self.n_x
        return Sequential((Linear(self.n_z, self.n_h, normal), Tanh(), Linear(self.n_h, n_out, normal)))

    def init(self, rng: np.random.Generator) -> Tree:
        return {"encoder": self.encoder.init(rng), "decoder": self.decoder.init(rng)}

    def nll(self, head: Array, x: Array) -> tuple[Array, LossPullback]:
        """-log p(x|z) (N,) from the decoder's output, and the pullback to that output."""
        if self.likelihood == "bernoulli":
            return bernoulli_with_logits(head, x)
        s, logvar = head[..., : self.n_x], head[..., self.n_x :]
        mean = sigmoid(s)
        loss, pullback = gaussian_nll(mean, logvar, x)

        def to_head(dloss: Array) -> Array:
            dmean, dlogvar = pullback(dloss)
            return np.concatenate([dmean * mean * (1 - mean), dlogvar], -1)

        return loss, to_head

    def mean(self, head: Array) -> Array:
        """E[x|z] (N, n_x) from the decoder's output: what the paper's pictures show."""
        return sigmoid(head[..., : self.n_x])

    def sample_x(self, head: Array, rng: np.random.Generator) -> Array:
        """x ~ p(x|z) (N, n_x)."""
        if self.likelihood == "bernoulli":
            return (rng.random(head.shape, dtype=np.float32) < sigmoid(head)).astype(head.dtype)
        noise = rng.standard_normal((*head.shape[:-1], self.n_x), dtype=np.float32)
        return self.mean(head) + np.exp(0.5 * head[..., self.n_x :]) * noise


def split(head: Array) -> tuple[Array, Array]:
    """The two halves of the encoder's output: mu and log sigma^2, (N, n_z) each."""
    n_z = head.shape[-1] // 2
    return head[..., :n_z], head[..., n_z:]


def noise_like(x: Array, rng: np.random.Generator) -> Array:
    """epsilon ~ N(0, I) in x's shape and dtype."""
    return rng.standard_normal(x.shape, dtype=np.float32).astype(x.dtype, copy=False)


def bound(vae: VAE, p: Tree, x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The estimator (10) with L = 1 for each datapoint: (L (N,), its KL term (N,)), in nats."""
    mu, logvar = split(vae.encoder(p["encoder"], x)[0])
    z = mu + np.exp(0.5 * logvar) * noise_like(mu, rng)
    kl, _ = gaussian_kl(mu, logvar)
    return -kl - vae.nll(vae.decoder(p["decoder"], z)[0], x)[0], kl


def aevb(vae: VAE, p: Tree, x: Array, rng: np.random.Generator) -> tuple[float, Tree]:
    r"""The mean bound over the minibatch and the gradient of its negative: eq. 10, L = 1, analytic KL.

        L(x) = -KL(q(z|x) || p(z)) + log p(x|z),   z = mu + sigma * epsilon,   epsilon ~ N(0, I)     (10)

    z depends on (mu, log sigma^2) through a deterministic map, so the gradient goes through the sample:
        dmu = dz,     dlog sigma^2 = dz * sigma * epsilon / 2      (sigma = exp(log sigma^2 / 2)),
    and the KL adds its own exact gradient to both.
    """
    head, encoder_pullback = vae.encoder(p["encoder"], x)
    mu, logvar = split(head)
    deviation = np.exp(0.5 * logvar) * noise_like(mu, rng)
    logits, decoder_pullback = vae.decoder(p["decoder"], mu + deviation)
    nll, nll_pullback = vae.nll(logits, x)
    kl, kl_pullback = gaussian_kl(mu, logvar)

    mean = np.full_like(nll, 1 / len(x))
    dz, d_decoder = decoder_pullback(nll_pullback(mean))
    dmu, dlogvar = kl_pullback(mean)
    _, d_encoder = encoder_pullback(np.concatenate([dmu + dz, dlogvar + 0.5 * deviation * dz], -1))
    return -float((nll + kl).mean()), {"encoder": d_encoder, "decoder": d_decoder}


def wake_sleep(vae: VAE, p: Tree, x: Array, rng: np.random.Generator) -> tuple[float, Tree]:
    r"""Wake-sleep (Hinton et al. 1995) on the same networks: the mean bound on the minibatch, the update direction.

    wake   z ~ q(z|x) for real x, raise log p(x|z) in the decoder's parameters (the prior has none);
    sleep  z ~ p(z), x ~ p(x|z) "dreamt", raise log q(z|x) in the encoder's.
    The two are not the gradient of one objective: sleep fits KL(p || q) on dreams, not KL(q || p) on data.
    """
    mu, logvar = split(vae.encoder(p["encoder"], x)[0])
    z = mu + np.exp(0.5 * logvar) * noise_like(mu, rng)
    logits, decoder_pullback = vae.decoder(p["decoder"], z)
    nll, nll_pullback = vae.nll(logits, x)
    mean = np.full_like(nll, 1 / len(x))
    _, d_decoder = decoder_pullback(nll_pullback(mean))

    z = noise_like(mu, rng)
    dream = vae.sample_x(vae.decoder(p["decoder"], z)[0], rng)
    head, encoder_pullback = vae.encoder(p["encoder"], dream)
    _, sleep_pullback = gaussian_nll(*split(head), z)
    _, d_encoder = encoder_pullback(np.concatenate(sleep_pullback(mean), -1))
    kl, _ = gaussian_kl(mu, logvar)
    return -float((nll + kl).mean()), {"encoder": d_encoder, "decoder": d_decoder}


METHODS = {"aevb": aevb, "wake-sleep": wake_sleep}
