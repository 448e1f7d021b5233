"""Accelerators that programs are compiled for without having them: their rates, memory and compilers.

Rates are those of data sheets (dense, without sparsity). The compilers are those of the packages `jax[cuda13]` and
`jax[tpu]`; neither needs a device.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from jaxrec.errors import InputError, first_line


@dataclass(frozen=True)
class Rates:
    """Work per second of one device.

    Attributes:
        products: FLOPs of float32 matrix products at JAX's default precision (TF32, bfloat16 passes on TPUs)
        elementwise: elementwise operations
        transcendental: exponentials, divisions and the like
        scattered: elements added by scatters
        bytes: bytes of main memory
        communicated: bytes between devices
        launch: seconds between two kernels
    """

    products: float
    elementwise: float
    transcendental: float
    scattered: float
    bytes: float
    communicated: float
    launch: float


@dataclass(frozen=True)
class Target:
    """A device: its platform, memory and rates.

    Attributes:
        platform: cuda or tpu
        kind: name of the chip for the compiler, a GPU's figures in protobuf text or a TPU's name
        memory: bytes that a program can use
        rates: see `Rates`
    """

    platform: str
    kind: str
    memory: float
    rates: Rates


_HOPPER = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: {bandwidth}
  l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: {memory}
  cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }} device_description_str: "{name}"
"""

# JAX reserves three quarters of a GPU's memory; float32 units, a quarter of them for exponentials and the like.
_GPU = {"products": 494e12, "elementwise": 33e12, "transcendental": 4e12, "communicated": 450e9, "launch": 2.5e-6}

TARGETS = {
    "h100": Target(
        "cuda",
        _HOPPER.format(bandwidth=3_350_000_000_000, memory=85_520_809_984, name="NVIDIA H100 80GB HBM3"),
        0.75 * 80e9,
        Rates(**_GPU, bytes=3.35e12, scattered=3.35e12 / 8),
    ),
    "h200": Target(
        "cuda",
        _HOPPER.format(bandwidth=4_800_000_000_000, memory=151_397_597_184, name="NVIDIA H200 141GB HBM3e"),
        0.75 * 141e9,
        Rates(**_GPU, bytes=4.8e12, scattered=4.8e12 / 8),
    ),
    # The vector units: 8 x 128 lanes, 4 operations each, per core; instructions follow each other on the chip.
    "v5e": Target("tpu", "v5e", 15.5e9, Rates(197e12, 6e12, 1.5e12, 0.8e12, 0.819e12, 200e9, 0.3e-6)),
    "v5p": Target("tpu", "v5p", 94e9, Rates(459e12, 14e12, 3.5e12, 2.7e12, 2.765e12, 600e9, 0.3e-6)),
    "v6e": Target("tpu", "v6e", 31e9, Rates(918e12, 14e12, 3.5e12, 1.6e12, 1.64e12, 448e9, 0.3e-6)),
}
CHIPS_OF_A_HOST = {"v5e": (2, 2), "v5p": (2, 2, 1), "v6e": (2, 2)}  # smallest topology that the compiler knows
EXTRAS = {"cuda": "cuda13", "tpu": "tpu"}


def absent_devices(target: str, topology: str) -> Sequence[jax.Device]:
    """Devices of a target to compile for.

    Args:
        target: a key of `TARGETS`.
        topology: number of devices, or a grid such as 2x2 or 16x16.

    Raises:
        InputError: an unknown target or topology, or the compiler is not installed.
    """
    if target not in TARGETS:
        raise InputError(f"target={target}: must be one of {', '.join(TARGETS)}, cpu")
    try:
        grid = tuple(int(size) for size in str(topology).split("x"))
        if min(grid) < 1:
            raise ValueError
    except ValueError:
        raise InputError(f"topology={topology}: must be a number of devices or a grid, e.g. 1, 8 or 2x2") from None
    platform, n_devices = TARGETS[target].platform, math.prod(grid)
    # A TPU's runtime would ask the cloud where it runs; these answers keep it from that.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    from jax.experimental import topologies

    try:
        if platform == "cuda":
            names = {"topology": f"1x{-(-n_devices // 8)}x{min(n_devices, 8)}", "target_config": TARGETS[target].kind}
            found = topologies.get_topology_desc(platform="cuda", **names)
        else:
            smallest = CHIPS_OF_A_HOST[target]
            shape = grid if n_devices > math.prod(smallest) else smallest
            name = "x".join(map(str, shape + (1,) * (len(smallest) - len(shape))))
            found = topologies.get_topology_desc(topology_name=f"{TARGETS[target].kind}:{name}", platform="tpu")
    except Exception as error:
        raise InputError(
            f"target={target}: its compiler does not start ({first_line(error)[:200]}): "
            f"install it with pip install 'jaxrec[{EXTRAS[platform]}]', in an environment of its own"
        ) from error
    if len(found.devices) < n_devices:
        raise InputError(f"topology={topology}: {target} has {len(found.devices)} devices in it")
    return found.devices[:n_devices]


def rates_of(device: jax.Device) -> Rates:
    """Rates of a present device by its name; an unknown one is treated as an H100 or a v5e."""
    names = {"H200": "h200", "H100": "h100", "v5p": "v5p", "v5 lite": "v5e", "v6": "v6e"}
    kind = str(device.device_kind)
    found = next((target for name, target in names.items() if name in kind), None)
    return TARGETS[found or ("v5e" if device.platform == "tpu" else "h100")].rates


def only_cpu() -> None:
    """Keep JAX from starting accelerators in this process; compilers for absent devices do not need them."""
    jax.config.update("jax_platforms", "cpu")
