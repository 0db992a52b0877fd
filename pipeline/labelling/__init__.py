"""What a round does with a person: batch, convert or refine, predict, judge, write a row. No Ray, no files."""
