"""Fields of an evaluation file, each checked for type and shape before it is used."""

from pipeline.labels.exchange import file_fields
from trainer.evaluation.evaluation_set import EvaluationFileError


class FileFields(file_fields.FileFields):
    """The same, refused as an evaluation file."""

    error = EvaluationFileError
