"""Try a compiled convolution.cpp in this process, which may crash: `python -m … FILE.so FPMATH`,
the second as in `runtime.onednn_fpmath`."""

import sys
from pathlib import Path

from ms_gan.system import runtime


def main() -> str | None:
    """What is wrong; None: nothing."""
    library, fpmath = sys.argv[1:]
    runtime.set_fpmath(fpmath)
    runtime.limit_instruction_set(convolutions=False)  # as it will be used
    import mindspore as ms

    from ms_gan.convolution import trial

    ms.set_device("CPU")
    runtime.set_mode("graph")
    return trial.fault(Path(library), trial.TOLERANCES[fpmath])


if __name__ == "__main__":
    sys.exit(main())
