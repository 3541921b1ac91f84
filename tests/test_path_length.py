"""The experiment path_length: a generator whose speed is known."""

import numpy as np

from tests import tiny

script = tiny.script("path_length")


class Linear:
    """Pictures are a matrix times what they are made of, so straight lines stay straight."""

    latent_dim, matrix = 200, np.random.default_rng(0).standard_normal((200, 12))

    def labels(self, num):
        return None

    def w(self, z, labels):
        return 3.0 * z

    def images(self, w):
        return (w @ self.matrix).reshape(-1, 1, 3, 4)

    def made(self, z, labels):
        return self.images(self.w(z, labels))


def test_a_straight_line_has_the_length_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(script.build, "load_sampler", lambda path: Linear())
    monkeypatch.setattr("sys.argv", ["path_length", str(tmp_path), "--pairs", "500"])
    script.main()
    rows = {line.split()[1]: line.split()[2:] for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows["w"][0] == "pixels" and rows["w"][1] == "1.00"
    assert 1.1 < float(rows["z"][1]) < 1.3  # a quarter of a circle: (pi / 2)^2 / 2 = 1.23


def test_an_arc_keeps_the_length_and_the_speed():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((5, 8))
    b = rng.standard_normal((5, 8))
    b *= np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1, keepdims=True)
    places = [script.arc(a, b, np.full((5, 1), share)) for share in np.linspace(0, 1, 5)]
    np.testing.assert_allclose(places[0], a)
    np.testing.assert_allclose(places[-1], b)
    for place in places:
        np.testing.assert_allclose(np.linalg.norm(place, axis=1), np.linalg.norm(a, axis=1))
    steps = [np.linalg.norm(q - p, axis=1) for p, q in zip(places, places[1:], strict=False)]
    np.testing.assert_allclose(steps[1:], [steps[0]] * 3)
