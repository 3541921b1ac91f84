"""A trained net as a file or a page that runs it: what is exported, its graph, ONNX and MindIR."""
