"""`ms-gan report` and `ms-gan compare`: what runs were and what came of them, as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ms_gan.cli.console import say, say_replaced
from ms_gan.errors import UsageError
from ms_gan.runs.run_dir import RunDir


def add_parsers(commands: argparse._SubParsersAction) -> None:
    one = commands.add_parser("report", help="make the page of a run again: report.html")
    one.add_argument("folder", type=Path, metavar="RUN", help="the folder of a run")
    one.add_argument("--out", type=Path, metavar="FILE.html", help="(report.html in the run)")
    one.set_defaults(run=run_report)

    several = commands.add_parser("compare", help="several runs side by side, as one page")
    several.add_argument("runs", nargs="+", metavar="RUN", help="two runs or more")
    several.add_argument(
        "--out", type=Path, default=Path("compare.html"), metavar="FILE.html", help="(%(default)s)"
    )
    several.set_defaults(run=run_compare)


def run_report(arguments: argparse.Namespace) -> int:
    run = RunDir(arguments.folder)
    return written([run], arguments.out or run.report_file)


def run_compare(arguments: argparse.Namespace) -> int:
    folders = list({Path(name).resolve(): Path(name) for name in arguments.runs}.values())
    if len(folders) < 2:
        raise UsageError(f"compare: got {folders[0]} alone; give two runs, or use report")
    return written([RunDir(folder) for folder in folders], arguments.out)


def written(runs: list[RunDir], out: Path) -> int:
    """Write the page and say so; what cannot be is a UsageError."""
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise UsageError(f"--out {out}: expected the name of a file that ends in .html")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: {out.parent} is not a folder")
    from ms_gan.runs import report, template

    report.save(runs, out)
    say(f"written to {out}, {template.size(out.stat().st_size)}")
    if out not in [run.report_file for run in runs]:
        say_replaced(out)
    return 0
