"""What a training run did, as a table: its validations, and what became of the label rows."""

from rich import box
from rich.table import Table

from trainer.training.record import TrainingRecord

_COLUMNS = {
    "step": "{:.0f}",
    "epoch": "{:.0f}",
    "loss": "{:.4f}",
    "mpjpe_mm": "{:.1f}",
    "pa_mpjpe_mm": "{:.1f}",
    "kp2d_error_px": "{:.2f}",
    "pck_05": "{:.1%}",
    "pck_10": "{:.1%}",
}
_SHOWN = 12  # validations


def summary_table(record: TrainingRecord) -> Table:
    """One line per validation (the last few of a long run), the best one marked."""
    people = record.best.get("people", 0)
    fold = f" without fold {record.fold} of {record.folds}" if record.folds > 1 else ""
    head = ", HMR2.0" if record.head == "smpl" else ""
    table = Table(
        title=f"Training {record.training_id} on round {record.round}{fold}{head}: {record.steps} steps, "
        f"{record.stopped_because}",
        title_justify="left",
        caption=f"held out: {people:.0f} people never trained on; MPJPE to their labels, px of the 256 px crop\n"
        + ", ".join(f"{name} {count}" for name, count in record.data_counts.items()),
        caption_justify="left",
        box=box.SIMPLE,
    )
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("")
    for row in record.history[-_SHOWN:]:
        cells = (form.format(row[name]) if name in row else "" for name, form in _COLUMNS.items())
        table.add_row(*cells, "best" if row["step"] == record.best["step"] else "")
    return table
