"""Which patterns cuDNN's graph interface has for the network's convolutions in bf16, and how fast; products by cuBLASLt likewise.

    python probe.py [--skip N] [--rehearse]

Prints a JSON object a case, preceded by `begin N`, so that after a crash the rest can be had with --skip. Without a GPU, or with
--rehearse, the graphs are put together and validated, as far as there is a `cudnn` module, and nothing runs.
"""
import argparse
import json
import time

BATCH = 16
# Name, input and output channels, side, kernel, dilation at 472x472.
SHAPES = [
    ("stage 1, 3x3", 64, 64, 118, 3, 1), ("stage 2, 3x3", 128, 128, 59, 3, 1), ("stage 3, 3x3", 256, 256, 59, 3, 2),
    ("stage 4, 3x3", 512, 512, 59, 3, 4), ("head, 3x3", 4096, 512, 59, 3, 1), ("stage 1, 1x1 out", 64, 256, 118, 1, 1),
    ("stage 3, 1x1 in", 1024, 256, 59, 1, 1), ("stage 4, 1x1 out", 512, 2048, 59, 1, 1),
]
# Limits of a case in seconds and bytes.
PATIENCE, WORKSPACE = 1.5, 256 << 20


def cases():
    patterns = [
        "output, statistics", "norm, relu, output", "norm, relu, output, statistics", "output, residual", "input gradient",
        "input gradient, relu mask", "weight gradient", "weight gradient in f32", "output",
    ]
    yield from ((pattern, shape) for pattern in patterns for shape in SHAPES)
    products = ["product", "product, added", "product in f32", "convolution by torch"]
    yield from ((pattern, shape) for pattern in products for shape in SHAPES)


class Graph:
    """A pattern as cuDNN's graph, and the tensors to run it on."""

    def __init__(self, cudnn, handle, pattern, shape):
        _, self.inputs, self.outputs, self.side, self.kernel, self.dilation = shape
        self.cudnn, self.half, self.single = cudnn, cudnn.data_type.BFLOAT16, cudnn.data_type.FLOAT
        self.graph = cudnn.pygraph(
            io_data_type=self.half, intermediate_data_type=self.single, compute_data_type=self.single, handle=handle
        )
        # The case's tensors, with their extents and whether they are f32.
        self.tensors = []
        padding = [self.dilation * (self.kernel // 2)] * 2
        self.how = {"padding": padding, "stride": [1, 1], "dilation": [self.dilation] * 2}
        self.image_of = lambda channels: (BATCH, channels, self.side, self.side)
        self.filter_of = (self.outputs, self.inputs, self.kernel, self.kernel)
        getattr(self, pattern.split(",")[0].replace(" ", "_"))(pattern)
        self.graph.validate()

    def given(self, extents, single=False):
        count, channels, height, width = extents
        strides = [height * width * channels, 1, width * channels, channels]
        tensor = self.graph.tensor(dim=list(extents), stride=strides, data_type=self.single if single else self.half)
        self.tensors.append((tensor, extents, single))
        return tensor

    def kept(self, tensor, extents, single=False):
        tensor.set_output(True).set_data_type(self.single if single else self.half)
        if not single or extents[2] > 1 or extents[0] > 1:
            count, channels, height, width = extents
            tensor.set_dim(list(extents)).set_stride([height * width * channels, 1, width * channels, channels])
        self.tensors.append((tensor, extents, single))

    def statistics(self, y):
        for sums in self.graph.genstats(y, compute_data_type=self.single):
            self.kept(sums, (1, self.outputs, 1, 1), True)

    def output(self, pattern, image=None):
        image = self.given(self.image_of(self.inputs)) if image is None else image
        y = self.graph.conv_fprop(image=image, weight=self.given(self.filter_of), **self.how)
        if "residual" in pattern:
            y = self.graph.add(a=y, b=self.given(self.image_of(self.outputs)))
        self.kept(y, self.image_of(self.outputs))
        if "statistics" in pattern:
            self.statistics(y)

    def norm(self, pattern):
        channel = (1, self.inputs, 1, 1)
        x = self.graph.scale(input=self.given(self.image_of(self.inputs)), scale=self.given(channel, True))
        x = self.graph.add(a=x, b=self.given(channel, True))
        x = self.graph.relu(input=x)
        x.set_data_type(self.half)
        self.output(pattern, x)

    def input_gradient(self, pattern):
        x = self.graph.conv_dgrad(loss=self.given(self.image_of(self.outputs)), filter=self.given(self.filter_of), **self.how)
        x.set_dim(list(self.image_of(self.inputs)))
        if "mask" in pattern:
            x = self.graph.relu_backward(loss=x, input=self.given(self.image_of(self.inputs)))
        self.kept(x, self.image_of(self.inputs))

    def weight_gradient(self, pattern):
        gradient = self.graph.conv_wgrad(
            image=self.given(self.image_of(self.inputs)), loss=self.given(self.image_of(self.outputs)), **self.how
        )
        gradient.set_dim(list(self.filter_of))
        self.kept(gradient, self.filter_of, "f32" in pattern)

    weight_gradient_in_f32 = weight_gradient

    def fastest(self, torch, handle):
        """Of the plans that are built in time."""
        graph, modes = self.graph, self.cudnn.heur_mode
        graph.build_operation_graph()
        graph.create_execution_plans([modes.A, modes.FALLBACK])
        plans, begin, best, built = graph.get_execution_plan_count(), time.perf_counter(), None, 0
        buffers = {}
        for tensor, (count, channels, height, width), single in self.tensors:
            memory = torch.randn(count, height, width, channels, device="cuda", dtype=torch.float32 if single else torch.bfloat16)
            buffers[tensor] = memory
        workspace = torch.empty(WORKSPACE, device="cuda", dtype=torch.uint8)
        errors = []
        for index in range(plans):
            if time.perf_counter() - begin > PATIENCE:
                break
            try:
                graph.build_plan_at_index(index)
                if graph.get_workspace_size_plan_at_index(index) > WORKSPACE:
                    continue
                taken = milliseconds(torch, lambda: graph.execute_plan_at_index(buffers, workspace, index, handle))
            except Exception as error:
                errors.append(str(error)[:200])
                continue
            built += 1
            if best is None or taken < best["ms"]:
                best = {"ms": taken, "plan": graph.get_plan_name_at_index(index), "index": index}
        return {"plans": plans, "ran": built, **(best or {"error": errors[-1] if errors else "no plan"})}


def milliseconds(torch, work, rounds=5):
    work()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[rounds // 2]


def product(torch, pattern, shape):
    """A 1x1 convolution as a matrix product, by both of the libraries that PyTorch can ask; or what PyTorch itself does."""
    _, inputs, outputs, side, kernel, dilation = shape
    rows = BATCH * side * side
    if pattern == "convolution by torch":
        torch.backends.cudnn.benchmark = True
        x = torch.randn(BATCH, inputs, side, side, device="cuda", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        w = torch.randn(outputs, inputs, kernel, kernel, device="cuda", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        work = lambda: torch.nn.functional.conv2d(x, w, padding=dilation * (kernel // 2), dilation=dilation)  # noqa: E731
        return {"ms": milliseconds(torch, work)}
    found = {}
    # The columns of a convolution's patches, as many as fit the memory.
    a = torch.randn(rows, min(inputs * kernel * kernel, 4608), device="cuda", dtype=torch.bfloat16)
    b = torch.randn(outputs, a.shape[1], device="cuda", dtype=torch.bfloat16).t()
    c = torch.randn(rows, outputs, device="cuda", dtype=torch.bfloat16)
    for library in ("cublas", "cublaslt"):
        try:
            torch.backends.cuda.preferred_blas_library(library)
            if pattern == "product":
                taken = milliseconds(torch, lambda: torch.mm(a, b))
            elif pattern == "product, added":
                taken = milliseconds(torch, lambda: torch.addmm(c, a, b))
            else:
                # The gradient of a weight. Its sums are long and stay in f32.
                taken = milliseconds(torch, lambda: torch.mm(c.t(), a, out_dtype=torch.float32))
            found[f"{library}_ms"] = taken
        except Exception as error:
            found[f"{library}_error"] = str(error)[:200]
    if found.get("cublaslt_ms"):
        found["tflops"] = 2e-9 * rows * a.shape[1] * outputs / found["cublaslt_ms"]
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    cudnn, handle = None, 1
    torch = None
    try:
        import torch

        runs = torch.cuda.is_available() and not options.rehearse
    except ImportError:
        runs = False
    try:
        import cudnn

        handle = cudnn.create_handle() if runs else 1
        if runs:
            cudnn.set_stream(handle=handle, stream=torch.cuda.current_stream().cuda_stream)
            print(json.dumps({"cudnn": cudnn.backend_version(), "frontend": cudnn.__version__}), flush=True)
    except Exception as error:
        print(json.dumps({"frontend_error": repr(error)[:500]}), flush=True)
        cudnn = None
    for index, (pattern, shape) in enumerate(cases()):
        if index < options.skip:
            continue
        print("begin", index, flush=True)
        row = {"case": index, "pattern": pattern, "shape": shape[0]}
        try:
            if pattern.startswith(("product", "convolution")):
                row.update(product(torch, pattern, shape) if runs else {"not_run": True})
            elif cudnn is None:
                row["not_run"] = True
            else:
                graph = Graph(cudnn, handle, pattern, shape)
                row.update(graph.fastest(torch, handle) if runs else {"valid": True})
                if "ms" in row:
                    flops = 2 * BATCH * shape[3] ** 2 * shape[1] * shape[2] * shape[4] ** 2
                    row["tflops"] = round(1e-9 * flops / row["ms"], 1)
        except Exception as error:
            row["error"] = str(error)[:300]
        print(json.dumps(row), flush=True)


main()
