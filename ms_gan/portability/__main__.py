"""The primitives of every compiled graph, and the backends that MindSpore declares for them.

    python -m ms_gan.portability                 # all recipes of configs/ and the classifier
    python -m ms_gan.portability default pictures
    python -m ms_gan.portability --write docs/portability.md

Exits with 1 where a backend declares nothing for a primitive.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ms_gan.errors import UsageError, UserError
from ms_gan.system import files, output, runtime

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ms_gan.portability", description=__doc__.splitlines()[0]
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="(all, and the classifier)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into a page")
    arguments = parser.parse_args(words)
    try:
        return run(arguments)
    except UserError as error:
        output.write(f"portability: {error}\n", sys.stderr)
        return 2


def run(arguments: argparse.Namespace) -> int:
    if arguments.write is not None:
        replaced(arguments.write, "")  # before long work
    runtime.import_mindspore()
    runtime.set_device("CPU")
    runtime.set_mode("graph")
    from ms_gan.portability import cases, report
    from ms_gan.recipe import reader

    names = arguments.recipes or [path.stem for path in sorted(reader.CONFIGS.glob("*.yaml"))]
    graphs = {name: cases.graphs(name) for name in names}
    if not arguments.recipes:
        graphs["classifier"] = cases.of_classifier()
    table = report.table(graphs)
    if arguments.write is None:
        output.say(table)
    else:
        files.write(arguments.write, replaced(arguments.write, table))
        output.say(f"written to {arguments.write}")
    for line in report.known(graphs):
        output.say(f"known: {line}")
    lines = report.missing(graphs)
    for line in lines:
        output.write(f"{line}\n", sys.stderr)
    return 1 if lines else 0


def replaced(page: Path, table: str) -> str:
    """The text of a page with the table between its marks."""
    try:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--write {page}: cannot be read: {error}") from None
    _, end, after = rest.partition(END)
    if not end:
        raise UsageError(f"--write {page}: expected a page with {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
