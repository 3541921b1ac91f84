"""Matrix products of an MLP. Run it as it is, and with ONEDNN_DEFAULT_FPMATH_MODE=BF16 in front."""

import os
import time

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops

ms.set_context(mode=ms.GRAPH_MODE)
rng = np.random.default_rng(0)
print(f"ONEDNN_DEFAULT_FPMATH_MODE: {os.environ.get('ONEDNN_DEFAULT_FPMATH_MODE', 'STRICT')}")
for n, k, m in ((256, 784, 1024), (256, 1024, 512), (128, 1024, 784)):
    a, b = rng.normal(size=(n, k)).astype(np.float32), rng.normal(size=(m, k)).astype(np.float32)
    x, w, product = Tensor(a), Tensor(b), ops.MatMul(transpose_b=True)
    times = []
    for _ in range(600):
        start = time.perf_counter()
        y = product(x, w).asnumpy()
        times.append(time.perf_counter() - start)
    exact = a.astype(np.float64) @ b.T
    error = np.abs(y - exact).mean() / np.abs(exact).mean()
    rate = 2 * n * k * m / np.median(times[300:]) / 1e9
    print(f"[{n}, {k}] x [{k}, {m}]: {rate:4.0f} GFLOP/s, relative error {error:.1e}")
