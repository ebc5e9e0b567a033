"""Embedding systems as modules of operations that ONNX knows, for `asd export`."""
