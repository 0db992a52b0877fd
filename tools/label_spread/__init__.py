"""What made pipeline/labelling/label_spread.json."""
