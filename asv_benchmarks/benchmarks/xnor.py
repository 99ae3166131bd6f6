"""XNOR: products of signs, on the shapes of ResNets."""

import numpy as np

import fastconv


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def signs(*shape):
    return fastconv.pack_signs(normal(*shape))


class XnorMatmul:
    params, param_names = [256, 1024, 4096], ["n"]

    def setup(self, n):
        self.a, self.b = signs(n, n), fastconv.pack_signs(normal(n, n), axis=-2)
        self.time_xnor_matmul(n)

    def time_xnor_matmul(self, n):
        fastconv.xnor_matmul(self.a, self.b)


class XnorMatmulReal:
    """Both operands are packed in every call."""

    def setup(self):
        self.a, self.b = normal(1024, 1024), normal(1024, 1024)
        self.time_xnor_matmul()

    def time_xnor_matmul(self):
        fastconv.xnor_matmul(self.a, self.b)


class XnorLinear:
    params, param_names = [1, 64], ["batch"]

    def setup(self, batch):
        self.x, self.weight, self.bias = normal(batch, 4096), signs(4096, 4096), normal(4096)
        self.time_xnor_linear(batch)

    def time_xnor_linear(self, batch):
        fastconv.xnor_linear(self.x, self.weight, self.bias)


class XnorConv2d:
    params, param_names = [[64, 256], [14, 56]], ["channels", "image"]

    def setup(self, c, n):
        self.x, self.filters = normal(1, c, n, n), fastconv.pack_filters(normal(c, c, 3, 3))
        self.time_xnor_conv2d(c, n)

    def time_xnor_conv2d(self, c, n):
        fastconv.xnor_conv2d(self.x, self.filters, padding=1)


class XnorConv2dLayout:
    params, param_names = [[1, 8], ["NCHW", "NHWC"]], ["batch", "layout"]

    def setup(self, batch, layout):
        shape = (batch, 128, 28, 28) if layout == "NCHW" else (batch, 28, 28, 128)
        self.x, self.filters = normal(*shape), fastconv.pack_filters(normal(128, 128, 3, 3))
        self.time_xnor_conv2d(batch, layout)

    def time_xnor_conv2d(self, batch, layout):
        fastconv.xnor_conv2d(self.x, self.filters, padding=1, data_format=layout)


FEW_CHANNELS = {
    "grey": ((1, 1, 1024, 1024), (1, 1, 3, 3), {"scale": "xnor"}),
    "rgb": ((1, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    "depthwise": ((1, 128, 56, 56), (128, 1, 3, 3), {"groups": 128, "padding": 1}),
    "small call": ((1, 1, 16, 16), (1, 1, 3, 3), {"padding": 1}),
}


class XnorConv2dFewChannels:
    """One grey image, a first layer of three channels, a depthwise layer, one small grey image."""

    params, param_names = list(FEW_CHANNELS), ["case"]

    def setup(self, case):
        shape, weight, self.options = FEW_CHANNELS[case]
        self.x, self.filters = normal(*shape), fastconv.pack_filters(normal(*weight))
        self.time_xnor_conv2d(case)

    def time_xnor_conv2d(self, case):
        fastconv.xnor_conv2d(self.x, self.filters, **self.options)


class XnorConv2dDepthwise:
    """Each channel by a filter of its own, and groups of 4 channels, to integers, numbers and signs."""

    params, param_names = [[1, 4], ["integers", "alpha", "threshold"]], ["channels", "output"]

    def setup(self, channels, output):
        self.x, groups = signs(8, 14, 14, 256), 256 // channels
        self.filters = fastconv.pack_filters(normal(256, channels, 3, 3))
        self.options = {"groups": groups, "padding": 1, "data_format": "NHWC"}
        if output == "alpha":
            self.options["scale"] = "alpha"
        if output == "threshold":
            self.options["threshold"] = fastconv.Threshold(np.zeros(256, np.int32), np.zeros(256, np.bool_))
        self.time_xnor_conv2d(channels, output)

    def time_xnor_conv2d(self, channels, output):
        fastconv.xnor_conv2d(self.x, self.filters, **self.options)


class XnorConv2dOutput:
    """From signs to signs by a threshold, and the scales of XNOR-Net."""

    params, param_names = ["threshold", "alpha", "xnor"], ["output"]

    def setup(self, output):
        self.x, self.options = normal(1, 256, 14, 14), {"scale": output}
        if output == "threshold":
            threshold = fastconv.Threshold(np.zeros(256, np.int32), np.zeros(256, np.bool_))
            self.x, self.options = fastconv.pack_signs(self.x, axis=1), {"threshold": threshold}
        self.filters = fastconv.pack_filters(normal(256, 256, 3, 3))
        self.time_xnor_conv2d(output)

    def time_xnor_conv2d(self, output):
        fastconv.xnor_conv2d(self.x, self.filters, padding=1, **self.options)


class PackFilters:
    params, param_names = [64, 256], ["channels"]

    def setup(self, c):
        self.weight = normal(c, c, 3, 3)
        self.time_pack_filters(c)

    def time_pack_filters(self, c):
        fastconv.pack_filters(self.weight)


class ActivationScale:
    params, param_names = [14, 56, 224], ["image"]

    def setup(self, n):
        self.x = normal(1, 64, n, n)
        self.time_activation_scale(n)

    def time_activation_scale(self, n):
        fastconv.activation_scale(self.x, 3, padding=1)


class BinaryMaxPool2d:
    params, param_names = [14, 56, 224], ["image"]

    def setup(self, n):
        self.x = signs(1, n, n, 256)
        self.time_binary_max_pool2d(n)

    def time_binary_max_pool2d(self, n):
        fastconv.binary_max_pool2d(self.x, 2)


class FoldBatchnorm:
    params, param_names = [64, 1024], ["channels"]

    def setup(self, c):
        self.normalisation = normal(c), normal(c), normal(c), normal(c) ** 2
        self.time_fold_batchnorm(c)

    def time_fold_batchnorm(self, c):
        fastconv.fold_batchnorm(*self.normalisation, n=9 * c)


class BinarizeResidual:
    params, param_names = [2**16, 2**22], ["elements"]

    def setup(self, n):
        self.x = normal(n // 256, 256)
        self.time_binarize_residual(n)

    def time_binarize_residual(self, n):
        fastconv.binarize_residual(self.x, 2)
