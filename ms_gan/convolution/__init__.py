"""How this process convolves: by MindSpore's kernels, or by the oneDNN that MindSpore brings."""
