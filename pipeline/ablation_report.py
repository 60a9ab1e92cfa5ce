"""Stage: a comparison of ways to prune -> its folder."""

from pathlib import Path

from pipeline.ablation import FILES, AblationReport
from pipeline.ablation_figure import recovery_figure
from pipeline.ablation_text import ablation_text
from pipeline.whole_files import make_folder, write_together

REPORT, TEXT, FIGURE = FILES


def ablation_report(report: AblationReport, folder: Path) -> AblationReport:
    """Write ablation.json, ablation.md and recovery.png, all or none. Raises InputError if the folder cannot be written."""
    make_folder(folder)
    write_together(
        {
            folder / FIGURE: recovery_figure(report),
            folder / TEXT: (ablation_text(report) + f"\n![recovery]({FIGURE})\n").encode(),
            folder / REPORT: report.model_dump_json(indent=1).encode(),
        }
    )
    return report
