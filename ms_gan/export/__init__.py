"""A trained net as a file that other programs run: what is exported, its graph, ONNX and MindIR."""
