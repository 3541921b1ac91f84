"""python -m ms_gan …"""

import sys

from ms_gan.cli import main

sys.exit(main())
