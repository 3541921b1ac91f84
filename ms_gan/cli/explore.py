"""`ms-gan explore`: a page on which one moves through the latents of a generator."""

from __future__ import annotations

import argparse
from pathlib import Path

from ms_gan.cli.console import DEVICES, DownloadProgress, say, say_replaced
from ms_gan.cli.evaluate import check_target
from ms_gan.cli.source import add_generator, generator_file, of_latents
from ms_gan.errors import UsageError
from ms_gan.export import packages, web
from ms_gan.runs import shipped, template


def add_parser(commands: argparse._SubParsersAction) -> None:
    explore = commands.add_parser(
        "explore", help="a page that runs a generator in the browser, to move through its latents"
    )
    add_generator(explore)
    explore.add_argument(
        "--out", type=Path, metavar="FILE.html",
        help="(named after the checkpoint and beside it; of a shipped one, here)",
    )  # fmt: skip
    explore.add_argument(
        "--runtime", type=Path, metavar="FOLDER_OR_TGZ",
        help=f"the npm package {web.PACKAGE} {web.VERSION}, which the page holds a part of, where "
        "there is no network (kept in the cache folder, else downloaded once)",
    )  # fmt: skip
    explore.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    explore.set_defaults(run=run_explore)


def run_explore(arguments: argparse.Namespace) -> int:
    path = generator_file(arguments)
    beside = Path(path.name) if shipped.owns(path) else path
    out = arguments.out or beside.with_suffix(".html")
    check_target(out, ".html")
    packages.check("onnx", "explore")
    files = at_hand(arguments.runtime)

    sampler = of_latents(path, arguments.device, "there is nothing to explore; ")
    from ms_gan.export import explorer

    difference = explorer.write(sampler, out, files or downloaded())
    say(f"written to {out}, {template.size(out.stat().st_size)}: open it in a browser")
    say(
        f"compared with {path}: largest difference {difference:.1e}, where 7.8e-03 is one of 255 "
        "grey levels"
    )
    say_replaced(out)
    return 0


def at_hand(given: Path | None) -> web.Runtime | None:
    """The files that run a net in a browser: those given, which are then kept, or those kept."""
    if given is None:
        return web.kept()
    files = web.given(given)
    web.keep(files)
    return files


def downloaded() -> web.Runtime:
    """The same from a mirror, kept for the next time.

    Raises:
        UsageError: there is none, with the reasons.
    """
    from ms_gan.data import download

    folder = web.kept_in()
    say(f"{web.PACKAGE} {web.VERSION}: downloading to {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in web.FILES:
            download.fetch(
                folder / name, web.MIRRORS, web.SHA256[name], DownloadProgress(), kind="sha256"
            )
    except (download.DownloadError, OSError) as error:
        raise UsageError(
            f"{web.PACKAGE} {web.VERSION}, which runs a net in a browser, is not in {folder} and "
            f"cannot be downloaded ({error}); {web.WITHOUT_NETWORK}"
        ) from None
    return web.given(folder)
