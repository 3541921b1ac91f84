"""The tutorial's adversarial update written again in NumPy float64, without any of the package.

Goodfellow et al. 2014 with the non-saturating loss; BatchNorm in training mode; Adam with the
epsilon of MindSpore's kernel (added to sqrt(v) before its bias is corrected). Backward passes are
derived by hand, so an error in automatic differentiation cannot hide.
"""

import numpy as np

EPS_BN, SLOPE = 1e-5, 0.2


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0.0, x)


class NumpyGan:
    """Weights by the package's names; `step` does one D update, then one G update.

    real is [N, pixels], z [N, latent], both float64; losses are scalars, scores [N].
    """

    def __init__(self, weights, lr=2e-4, beta1=0.5, beta2=0.999, eps=1e-8):
        self.w = {k: v.astype(np.float64) for k, v in weights.items()}
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.m = {k: np.zeros_like(v) for k, v in self.w.items()}
        self.v = {k: np.zeros_like(v) for k, v in self.w.items()}
        self.t = {"generator": 0, "discriminator": 0}

    def layers(self, net):
        """Indices of the layers that have parameters, in order, with their kind."""
        found = {}
        for name in self.w:
            role, _, index, kind = name.split(".")
            if role == net and kind in ("weight", "gamma"):
                found[int(index)] = kind
        return sorted(found.items())

    def generator(self, z, update_statistics=True):
        h, tape = z, []
        layers = self.layers("generator")
        for position, (i, kind) in enumerate(layers):
            p = f"generator.model.{i}."
            if kind == "weight":
                tape.append(("dense", i, h))
                h = h @ self.w[p + "weight"].T + self.w[p + "bias"]
            else:
                mean, var = h.mean(0), h.var(0)
                normal = (h - mean) / np.sqrt(var + EPS_BN)
                tape.append(("norm", i, (normal, var)))
                h = normal * self.w[p + "gamma"] + self.w[p + "beta"]
                if update_statistics:
                    n = len(z)
                    for key, value in (("mean", mean), ("variance", var * n / (n - 1))):
                        self.w[p + "moving_" + key] *= 0.9
                        self.w[p + "moving_" + key] += 0.1 * value
            followed_by_norm = position + 1 < len(layers) and layers[position + 1][1] == "gamma"
            if position == len(layers) - 1:
                h = np.tanh(h)
                tape.append(("tanh", None, h))
            elif not followed_by_norm:
                tape.append(("relu", None, h > 0))
                h = h * (h > 0)
        return h, tape

    def generator_backward(self, tape, g):
        grads = {}
        for kind, i, saved in reversed(tape):
            p = f"generator.model.{i}."
            if kind == "tanh":
                g = g * (1 - saved**2)
            elif kind == "relu":
                g = g * saved
            elif kind == "dense":
                grads[p + "weight"], grads[p + "bias"] = g.T @ saved, g.sum(0)
                g = g @ self.w[p + "weight"]
            else:
                normal, var = saved
                grads[p + "gamma"], grads[p + "beta"] = (g * normal).sum(0), g.sum(0)
                g = g * self.w[p + "gamma"]
                g = (g - g.mean(0) - normal * (g * normal).mean(0)) / np.sqrt(var + EPS_BN)
        return grads

    def discriminator(self, x):
        h, tape = x, []
        layers = self.layers("discriminator")
        for position, (i, _) in enumerate(layers):
            p = f"discriminator.model.{i}."
            before = h
            h = h @ self.w[p + "weight"].T + self.w[p + "bias"]
            last = position == len(layers) - 1
            slope = np.ones_like(h) if last else np.where(h > 0, 1.0, SLOPE)
            tape.append((i, before, slope))
            h = h * slope
        return h[:, 0], tape

    def discriminator_backward(self, tape, g):
        g, grads = g[:, None], {}
        for i, before, slope in reversed(tape):
            p = f"discriminator.model.{i}."
            g = g * slope
            grads[p + "weight"], grads[p + "bias"] = g.T @ before, g.sum(0)
            g = g @ self.w[p + "weight"]
        return grads, g

    def adam(self, net, grads):
        self.t[net] += 1
        t = self.t[net]
        lr = self.lr * np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        for k, g in grads.items():
            self.m[k] = self.beta1 * self.m[k] + (1 - self.beta1) * g
            self.v[k] = self.beta2 * self.v[k] + (1 - self.beta2) * g * g
            self.w[k] -= lr * self.m[k] / (np.sqrt(self.v[k]) + self.eps)

    def update_d(self, real, z):
        """loss_d, real_scores, fake_scores before the update; the generator runs on z."""
        n = len(real)
        fake, _ = self.generator(z)
        real_scores, real_tape = self.discriminator(real)
        fake_scores, fake_tape = self.discriminator(fake)
        grads, _ = self.discriminator_backward(real_tape, -sigmoid(-real_scores) / n)
        others, _ = self.discriminator_backward(fake_tape, sigmoid(fake_scores) / n)
        self.adam("discriminator", {k: grads[k] + others[k] for k in grads})
        return (
            softplus(-real_scores).mean() + softplus(fake_scores).mean(),
            real_scores,
            fake_scores,
        )

    def loss_g(self, fake):
        """The adversarial loss of images, and its gradient in them."""
        scores, tape = self.discriminator(fake)
        _, images_grad = self.discriminator_backward(tape, -sigmoid(-scores) / len(fake))
        return softplus(-scores).mean(), images_grad

    def update_g(self, z, update_statistics=True):
        """loss_g before the update."""
        fake, tape = self.generator(z, update_statistics)
        loss, images_grad = self.loss_g(fake)
        self.adam("generator", self.generator_backward(tape, images_grad))
        return loss

    def step(self, real, z):
        """loss_d, loss_g; both updates share a forward pass of the generator."""
        loss_d, *_ = self.update_d(real, z)
        return loss_d, self.update_g(z, update_statistics=False)
