"""The inference workloads of `igneous bench` in ONNX Runtime, from models and inputs that workloads_torch.py left in a folder.

    python workloads_torch.py --case FOLDER WORKLOAD…; python workloads_torch.py --onnx FOLDER WORKLOAD…
    python workloads_ort.py --threads 2 --models FOLDER WORKLOAD…
    python workloads_ort.py --models FOLDER --check WORKLOAD…   # compares with PyTorch's results
"""
import argparse
import os
import time

import timing

parser = argparse.ArgumentParser()
parser.add_argument("--models", required=True)
parser.add_argument("--check", action="store_true")
parser.add_argument("workloads", nargs="+")
timing.add_arguments(parser)
arguments = parser.parse_args()

import numpy as np
import onnxruntime
from safetensors import safe_open


def known(name):
    return safe_open(os.path.join(arguments.models, f"{name}.safetensors"), "numpy")


class Case:
    """A session whose inputs and outputs stay where they are, so that no copies are timed."""

    def __init__(self, name):
        start = time.perf_counter()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        options.log_severity_level = 3
        path = os.path.join(arguments.models, f"{name}.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.load_s = time.perf_counter() - start
        self.binding = self.session.io_binding()
        self.values = []
        with known(name) as tensors:
            for i, described in enumerate(self.session.get_inputs()):
                self.values.append(onnxruntime.OrtValue.ortvalue_from_numpy(tensors.get_tensor(f"input.{i}")))
                self.binding.bind_ortvalue_input(described.name, self.values[-1])
            for i, described in enumerate(self.session.get_outputs()):
                shape = tensors.get_slice(f"output.{i}").get_shape()
                self.values.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32))
                self.binding.bind_ortvalue_output(described.name, self.values[-1])

    def step(self):
        self.session.run_with_iobinding(self.binding)
        return self.binding.get_outputs()


def check(name):
    results = Case(name).step()
    with known(name) as tensors:
        outputs = [(f"output.{i}", y.numpy(), tensors.get_tensor(f"output.{i}")) for i, y in enumerate(results)]
        timing.compare("onnxruntime", name, outputs)


def main():
    session = timing.Session("onnxruntime", "session", onnxruntime.__version__, arguments)
    for name in arguments.workloads:
        if not os.path.exists(os.path.join(arguments.models, f"{name}.onnx")):
            continue
        if arguments.check:
            check(name)
            continue
        case = Case(name)
        session.report(name, case.step, load_s=case.load_s)


main()
