"""PyTorch layers that train in floats and infer in bits."""
