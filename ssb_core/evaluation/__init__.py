"""How models are judged: benchmarks, contamination, grading, and the statistics of accuracies."""
