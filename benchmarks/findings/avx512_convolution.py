"""One 4x4 stride-2 convolution. Run it as it is, and with ONEDNN_MAX_CPU_ISA=AVX2 in front."""

import os
import time

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn

ms.set_context(mode=ms.GRAPH_MODE)
layer = nn.Conv2d(64, 128, 4, stride=2, pad_mode="pad", padding=1)
x = Tensor(np.random.default_rng(0).normal(size=(16, 64, 32, 32)).astype(np.float32))
times = []
for _ in range(5):
    start = time.perf_counter()
    layer(x).asnumpy()
    times.append(time.perf_counter() - start)
isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "not limited")
print(f"oneDNN {isa}: {1e3 * np.median(times[1:]):.1f} ms")
