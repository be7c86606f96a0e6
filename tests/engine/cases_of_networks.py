"""Further calls for the laws of the table: activations, convolutions, pooling, softmax."""

from tests.engine.cases import ANY, CUBE, ROW, case, numbers
from tinygrad_vg import ops
from tinygrad_vg.engine import convolution, pooling
from tinygrad_vg.nn import losses

# fmt: off
IMAGES = (  # shapes of images, filters and biases: one network, and ensembles that share some of them; then the options
    ((2, 2, 3, 4), (2, 2, 2, 3), (2,), {}), ((1, 2, 4, 3), (1, 2, 2, 2), (1,), {"stride": (3, 2), "padding": (1, 1)}),
    ((2, 1, 3, 3), (2, 2, 1, 2, 2), (2, 2), {}), ((2, 1, 1, 3, 3), (2, 1, 1, 2, 3), (2, 1), {"padding": (0, 1)}),
    ((2, 1, 1, 3, 3), (1, 1, 2, 2), (2, 1), {"stride": (1, 2)}), ((1, 1, 3, 3), (2, 1, 1, 2, 2), (1,), {}),
)
POOLS = (
    {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}, {"kernel": (2, 1), "stride": (1, 2), "padding": (1, 0)},
    {"kernel": (3, 2), "stride": (1, 1), "padding": (1, 1)},
)
ACTIVATIONS = (
    ops.silu, ops.selu, ops.gelu, ops.gelu_tanh, ops.normal_cdf, ops.normal_pdf, ops.elu, ops.leaky_relu,
)

CASES = [
    *(case(f, ANY) for f in ACTIVATIONS), case(ops.elu, ANY, 0.3), case(ops.leaky_relu, ANY, 0.3),
    *(case(ops.conv2d, *(numbers(*shape) for shape in shapes), **options) for *shapes, options in IMAGES),
    case(ops.conv2d, numbers(1, 1, 3, 3), numbers(2, 1, 2, 2)),
    case(convolution.conv2d_images, numbers(2, 2, 2, 2), numbers(2, 2, 3, 2),
         size=(6, 3), stride=(3, 1), padding=(1, 0)),
    case(convolution.conv2d_images, numbers(2, 1, 2, 2, 2), numbers(2, 2, 1, 2, 2),
         size=(3, 3), stride=(1, 1), padding=(0, 0)),
    case(convolution.conv2d_filters, numbers(2, 2, 2, 2), numbers(2, 1, 5, 3),
         kernel=(3, 2), stride=(2, 1), padding=(0, 0)),
    case(convolution.conv2d_filters, numbers(2, 1, 2, 2, 2), numbers(1, 1, 3, 3),
         kernel=(2, 2), stride=(1, 1), padding=(0, 0)),
    *(case(f, numbers(2, 4, 3), **options) for f in (ops.max_pool2d, ops.avg_pool2d) for options in POOLS),
    *(case(pooling.take_at_largest, numbers(2, 4, 3), numbers(2, 4, 3)[..., ::-1], **options) for options in POOLS),
    *(case(pooling.put_at_largest, ops.avg_pool2d(numbers(2, 4, 3), **options), numbers(2, 4, 3), **options)
      for options in POOLS),
    *(case(pooling.spread_over_patches, ops.avg_pool2d(numbers(2, 4, 3), **options), size=(4, 3), **options)
      for options in POOLS),
    *(case(ops.softmax, a) for a in (ROW, ANY, CUBE)),
    *(case(f, a, axis=axis) for f in (ops.log_softmax, ops.softmax) for a, axis in ((ANY, 0), (CUBE, -2))),
    case(losses.huber, ANY, 1.0), case(losses.huber, ANY, 0.5),
]
# fmt: on
