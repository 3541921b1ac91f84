"""Which backends MindSpore declares for every primitive of the compiled graphs.

`python -m ms_gan.portability` prints the table; no command of `ms-gan` imports this folder.
"""
