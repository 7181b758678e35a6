"""The workloads of `igneous bench` in JAX: jitted, training steps with donated parameters, in the layouts that JAX prefers.

    python workloads_jax.py --threads 2 WORKLOAD…
    python workloads_jax.py --check FOLDER WORKLOAD…    # compares with what workloads_torch.py --case left there
"""
import argparse
import os

import timing

parser = argparse.ArgumentParser()
parser.add_argument("--check")
parser.add_argument("workloads", nargs="+")
timing.add_arguments(parser)
arguments = parser.parse_args()
os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):
    # XLA takes as many threads as there are cores it may run on, and has no option for it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:arguments.threads])

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

random = np.random.default_rng(0)


class Layout:
    """How a tensor of PyTorch's lies here: the axes to put in order."""

    def __init__(self, *order):
        self.order = order

    def __call__(self, x):
        return np.ascontiguousarray(x.transpose(self.order)) if self.order else x


SAME, MATRIX = Layout(), Layout(1, 0)
IMAGES, FILTERS = Layout(0, 2, 3, 1), Layout(2, 3, 1, 0)
HEADS = Layout(0, 2, 1, 3)


def flattened_images(channels, height, width):
    """The layout of a matrix behind images: its inputs come channel by channel in PyTorch, and pixel by pixel here."""
    def layout(x):
        return np.ascontiguousarray(x.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, len(x)))
    return layout


def normal(*shape, scale=1.0):
    return random.standard_normal(shape, dtype=np.float32) * np.float32(scale)


class Training:
    """Forward, cross-entropy, backward and update."""

    def __init__(self, net, parameters, optimizer, x):
        self.layouts = [layout for _, layout in parameters]
        self.input_layouts, self.output_layout = [IMAGES if x.ndim == 4 else SAME, SAME], SAME
        self.inputs = [jnp.asarray(x), jnp.asarray(random.integers(0, 10, len(x)).astype(np.int32))]
        start, update = optimizer
        self.start = start
        self.assign([p for p, _ in parameters])

        def loss(parameters, x, labels):
            return -jnp.take_along_axis(nn.log_softmax(net(parameters, x)), labels[:, None], 1).mean()

        def step(parameters, state, x, labels):
            value, gradients = jax.value_and_grad(loss)(parameters, x, labels)
            return *update(parameters, gradients, state), value

        self.function = jax.jit(step, donate_argnums=(0, 1))

    def assign(self, parameters):
        self.parameters = [jnp.array(p) for p in parameters]
        self.state = self.start(self.parameters)

    def step(self):
        self.parameters, self.state, loss = jax.block_until_ready(
            self.function(self.parameters, self.state, *self.inputs))
        return [loss]


class Function:
    """A function of parameters and inputs."""

    def __init__(self, function, inputs, parameters=(), inputs_as=SAME, outputs_as=SAME):
        self.function = jax.jit(function)
        self.inputs, self.parameters = [jnp.asarray(x) for x in inputs], [jnp.asarray(p) for p, _ in parameters]
        self.layouts = [layout for _, layout in parameters]
        self.input_layouts, self.output_layout = [inputs_as] * len(inputs), outputs_as

    def assign(self, parameters):
        self.parameters = [jnp.array(p) for p in parameters]

    def step(self):
        results = jax.block_until_ready(self.function(*self.parameters, *self.inputs))
        return results if isinstance(results, tuple) else [results]


def sgd(rate=0.01):
    return lambda p: (), lambda p, g, state: ([a - rate * b for a, b in zip(p, g)], state)


def adam(rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8):
    def start(p):
        return [jnp.zeros_like(a) for a in p], [jnp.zeros_like(a) for a in p], jnp.zeros(())

    def update(p, g, state):
        count = state[2] + 1
        first = [beta1 * m + (1 - beta1) * a for m, a in zip(state[0], g)]
        second = [beta2 * v + (1 - beta2) * a * a for v, a in zip(state[1], g)]
        rate1, scale2 = rate / (1 - beta1**count), 1 / (1 - beta2**count)
        p = [a - rate1 * m / (jnp.sqrt(v * scale2) + epsilon) for a, m, v in zip(p, first, second)]
        return p, (first, second, count)

    return start, update


def linear(inputs, outputs, layout=MATRIX):
    scale = inputs**-0.5
    return [(normal(inputs, outputs, scale=scale), layout), (normal(outputs, scale=scale), SAME)]


def filters(size, inputs, outputs):
    scale = (size * size * inputs) ** -0.5
    return [(normal(size, size, inputs, outputs, scale=scale), FILTERS), (normal(outputs, scale=scale), SAME)]


def mlp_parameters(*widths):
    return [p for pair in zip(widths, widths[1:]) for p in linear(*pair)]


def mlp(parameters, x):
    layers = list(zip(parameters[::2], parameters[1::2]))
    for weight, bias in layers[:-1]:
        x = nn.relu(x @ weight + bias)
    return x @ layers[-1][0] + layers[-1][1]


def convolution(x, weight, padding):
    return lax.conv_general_dilated(x, weight, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def lenet_parameters():
    return [*filters(5, 3, 6), *filters(5, 6, 16), *linear(400, 120, flattened_images(16, 5, 5)),
            *mlp_parameters(120, 84, 10)]


def lenet(parameters, x):
    for weight, bias in (parameters[0:2], parameters[2:4]):
        x = nn.relu(convolution(x, weight, "VALID") + bias)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return mlp(parameters[4:], x.reshape(len(x), -1))


def recurrent_parameters(gates):
    scale = 256**-0.5
    rows = gates * 256
    weights = [(normal(inputs, rows, scale=scale), MATRIX) for inputs in (128, 256)]
    return [*weights, *[(normal(rows, scale=scale), SAME) for _ in range(2)], *linear(256, 10)]


def lstm(parameters, x):
    weight_x, weight_h, bias_x, bias_h, weight, bias = parameters

    def step(state, projected):
        h, c = state
        i, f, g, o = jnp.split(projected + h @ weight_h, 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return (nn.sigmoid(o) * jnp.tanh(c), c), None

    projected = (x @ weight_x + (bias_x + bias_h)).transpose(1, 0, 2)
    zeros = jnp.zeros((len(x), len(weight_h)))
    (h, _), _ = lax.scan(step, (zeros, zeros), projected)
    return h @ weight + bias


def gru(parameters, x):
    weight_x, weight_h, bias_x, bias_h, weight, bias = parameters

    def step(h, projected):
        x_r, x_z, x_n = jnp.split(projected, 3, -1)
        h_r, h_z, h_n = jnp.split(h @ weight_h + bias_h, 3, -1)
        new = jnp.tanh(x_n + nn.sigmoid(x_r + h_r) * h_n)
        z = nn.sigmoid(x_z + h_z)
        return new + z * (h - new), None

    projected = (x @ weight_x + bias_x).transpose(1, 0, 2)
    h, _ = lax.scan(step, jnp.zeros((len(x), len(weight_h))), projected)
    return h @ weight + bias


def layer_norm(weight, bias, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * weight + bias


def layer_norm_gradients(weight, bias, x, cotangent):
    weight, bias, x = jax.vjp(layer_norm, weight, bias, x)[1](cotangent)
    return x, weight, bias


def rms_norm(x, weight):
    return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * weight


def gate(x, a, b, c, d):
    return nn.gelu(x * a + b, approximate=False) * nn.sigmoid(c) + jnp.tanh(d)


def chain(x, y):
    for i in range(5):
        x = nn.relu(x * 0.9 + y) - 0.1 * i
    return x


def written_out_attention(q, k, v, causal):
    scores = q @ k.swapaxes(-1, -2) / 8.0
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    return nn.softmax(scores, -1) @ v


def attention(tokens, causal):
    inputs = [normal(1, tokens, 12, 64) for _ in range(3)]
    return Function(lambda q, k, v: nn.dot_product_attention(q, k, v, is_causal=causal), inputs,
                    inputs_as=HEADS, outputs_as=HEADS)


def manual_attention(tokens, causal):
    inputs = [normal(1, 12, tokens, 64) for _ in range(3)]
    return Function(lambda q, k, v: written_out_attention(q, k, v, causal), inputs)


def mlp_training(batch, *widths):
    return Training(mlp, mlp_parameters(*widths), sgd(), normal(batch, widths[0]))


def lenet_training(batch):
    return Training(lenet, lenet_parameters(), adam(), normal(batch, 32, 32, 3))


def recurrent_training(net, gates):
    return Training(net, recurrent_parameters(gates), adam(), normal(32, 64, 128))


def norm_parameters():
    return [(np.ones(1024, np.float32), SAME), (np.zeros(1024, np.float32), SAME)]


def conv56(batch):
    return Function(lambda weight, x: convolution(x, weight, "SAME"), [normal(batch, 56, 56, 64)], filters(3, 64, 64)[:1],
                    inputs_as=IMAGES, outputs_as=IMAGES)


def matmul(n):
    return Function(jnp.matmul, [normal(n, n), normal(n, n)])


ELEMENTS, FEW = 1 << 22, 1 << 14
ROWS = (4096, 1024)
WORKLOADS = {
    "mlp512_b64_train": lambda: mlp_training(64, 784, 512, 10),
    "mlp128_64_b256_train": lambda: mlp_training(256, 784, 128, 64, 10),
    "mlp512_b1_infer": lambda: Function(lambda *p: mlp(p[:-1], p[-1]), [normal(1, 784)], mlp_parameters(784, 512, 10)),
    "lenet_b4_train": lambda: lenet_training(4),
    "lenet_b128_train": lambda: lenet_training(128),
    "lstm_train": lambda: recurrent_training(lstm, 4),
    "gru_train": lambda: recurrent_training(gru, 3),
    "pw_gate_4m": lambda: Function(gate, [normal(ELEMENTS) for _ in range(5)]),
    "pw_gate_16k": lambda: Function(gate, [normal(FEW) for _ in range(5)]),
    "chain20_4m": lambda: Function(chain, [normal(ELEMENTS) for _ in range(2)]),
    "chain20_16k": lambda: Function(chain, [normal(FEW) for _ in range(2)]),
    "softmax_4096x1024": lambda: Function(lambda x: nn.softmax(x, -1), [normal(*ROWS)]),
    "layernorm_fwd": lambda: Function(layer_norm, [normal(*ROWS)], norm_parameters()),
    "layernorm_fwdbwd": lambda: Function(layer_norm_gradients, [normal(*ROWS), normal(*ROWS)], norm_parameters()),
    "rmsnorm_fwd": lambda: Function(rms_norm, [normal(*ROWS), normal(1024)]),
    "sum_4m": lambda: Function(jnp.sum, [normal(ELEMENTS)]),
    "matmul_512": lambda: matmul(512),
    "matmul_1024": lambda: matmul(1024),
    "matmul_2048": lambda: matmul(2048),
    "matvec_768x3072": lambda: Function(lambda weight, x: x @ weight, [normal(1, 768)], linear(768, 3072)[:1]),
    "linear_gelu_128x768x3072": lambda: Function(
        lambda weight, bias, x: nn.gelu(x @ weight + bias, approximate=False), [normal(128, 768)], linear(768, 3072)),
    "conv56_b1": lambda: conv56(1),
    "conv56_b8": lambda: conv56(8),
    "attn_512": lambda: attention(512, False),
    "attn_512_manual": lambda: manual_attention(512, False),
    "attn_2048_causal": lambda: attention(2048, True),
    "attn_2048_causal_manual": lambda: manual_attention(2048, True),
}


def check(name):
    """One step with PyTorch's parameters and inputs gives its results and its parameters."""
    from safetensors.numpy import load_file
    known = load_file(os.path.join(arguments.check, f"{name}.safetensors"))
    case = WORKLOADS[name]()
    before = [layout(known[f"parameter.{i}"]) for i, layout in enumerate(case.layouts)]
    case.assign(before)
    case.inputs = [jnp.asarray(layout(known[f"input.{i}"])) for i, layout in enumerate(case.input_layouts)]
    results = case.step()
    outputs = [(f"output.{i}", y, case.output_layout(known[f"output.{i}"])) for i, y in enumerate(results)]
    changes = [(f"after.{i}", *[np.asarray(after, np.float64) - before[i] for after in
                                [case.parameters[i], layout(known[f"after.{i}"]), layout(known[f"exact.{i}"])]])
               for i, layout in enumerate(case.layouts)]
    timing.compare("jax", name, outputs, changes)


def main():
    session = timing.Session("jax", "jit", jax.__version__, arguments)
    for name in arguments.workloads:
        if name not in WORKLOADS:
            continue
        if arguments.check:
            check(name)
        else:
            session.report(name, WORKLOADS[name]().step)


main()
