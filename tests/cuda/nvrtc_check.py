"""Compiles generated CUDA text to CUBIN with NVRTC, for every architecture, without a GPU.

    pip install nvidia-cuda-nvrtc            # or: python -m venv venv && venv/bin/pip install nvidia-cuda-nvrtc
    python tests/cuda/nvrtc_check.py         # the snapshots of compiler/src/cuda
    python tests/cuda/nvrtc_check.py a.cu    # other files

Prints size and time for each kernel. Exits with 1 if one does not compile.
"""

import ctypes
import glob
import importlib.util
import os
import sys
import time

ARCHITECTURES = ["sm_80", "sm_90a", "sm_100"]
OPTIONS = ["--fmad=false"]  # igneous_compiler::cuda::OPTIONS


def load_nvrtc():
    """The library of the wheel; the name of its folder has changed between versions."""
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations) if spec else []
    found = [p for r in roots for p in glob.glob(f"{r}/**/libnvrtc.so.1[0-9]", recursive=True)]
    if not found:
        sys.exit("libnvrtc is not there: install the wheel nvidia-cuda-nvrtc")
    return ctypes.CDLL(sorted(found)[-1])


def text_of(path):
    """The kernel in a snapshot, below its header, or the whole file."""
    text = open(path).read()
    return text.split("\n---\n", 1)[1] if path.endswith(".snap") else text


def compile_text(nvrtc, text, architecture):
    """(size of the CUBIN, nothing), or (0, log)."""
    program = ctypes.c_void_p()
    status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    assert status == 0, f"nvrtcCreateProgram: {status}"
    options = [f"--gpu-architecture={architecture}".encode()] + [o.encode() for o in OPTIONS]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    if status == 0:
        assert nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
        result = (size.value, "")
    else:
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        result = (0, log.value.decode())
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return result


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    paths = sys.argv[1:] or sorted(glob.glob(os.path.join(here, "../../compiler/src/cuda/snapshots/*.snap")))
    if not paths:
        sys.exit("there is nothing to compile")
    nvrtc = load_nvrtc()
    failed = 0
    for path in paths:
        cells = []
        for architecture in ARCHITECTURES:
            start = time.perf_counter()
            size, log = compile_text(nvrtc, text_of(path), architecture)
            milliseconds = (time.perf_counter() - start) * 1e3
            cells.append(f"{architecture} {size:6d} B {milliseconds:4.0f} ms" if size else f"{architecture} FAILED\n{log}")
            failed += size == 0
        print(f"{os.path.basename(path).removesuffix('.snap').split('__')[-1]:16} {'  '.join(cells)}")
    print(f"{len(paths)} kernels, {failed} failures")
    sys.exit(failed > 0)


main()
