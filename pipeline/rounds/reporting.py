"""The report on a round that has just been published; the round stands whatever becomes of it."""

import logging

from pipeline.labels import LabelStore
from pipeline.report.round_report import PhotoSource, write_round_report
from pipeline.rounds.plan import RoundPlan

logger = logging.getLogger(__name__)


def report_round(plan: RoundPlan, store: LabelStore) -> None:
    """Write it beside the generation, compared with the parent. A failure is logged, with how to make it later."""
    against = None if plan.parent is None else plan.parent.round
    try:
        write_round_report(store, plan.round, against, PhotoSource())
    except Exception as error:  # whatever it is: the round is published, and must not seem to have failed
        logger.warning(
            "Round %d is published, but its report could not be written: %s: %s. Make it by python "
            "jobs/inspect_labels.py report %d, or leave reports out with run.report=false.",
            plan.round, type(error).__name__, error, plan.round,
        )  # fmt: skip
