"""progress.gif and curves.png, drawn from what lies in a run directory."""

from __future__ import annotations

from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir


def draw(run: RunDir, headline: Headline) -> None:
    """The samples as a film, captioned with the headline where it was measured; the curves."""
    log = run.read_log()
    values = {row["step"]: row[headline.key] for row in log if headline.key in row}
    frames = [
        visualise.captioned(
            visualise.load_png(path),
            f"step {step}" + (f"  {headline.said(values[step], 1)}" if step in values else ""),
        )
        for step, path in run.sample_files()
    ]
    if frames:
        visualise.save_gif(run.gif_file, frames, pause=2000)
    visualise.save_curves(run.curves_file, log, headline)
