"""Stand-alone scripts that are copied into a bundle: Python 3.10 and numpy, with ONNX Runtime or TensorRT. None imports ours."""
