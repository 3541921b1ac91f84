"""Try a compiled convolution.cpp in this process, which may crash: `python -m … FILE.so`."""

import sys
from pathlib import Path

from ms_gan.system import runtime


def main() -> str | None:
    """What is wrong; None: nothing."""
    runtime.limit_instruction_set(convolutions=False)  # as it will be used
    import mindspore as ms

    from ms_gan.convolution import trial

    ms.set_device("CPU")
    runtime.set_mode("graph")
    return trial.fault(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
