"""The evaluation of models: benchmarks, contamination, grading, and the statistics of accuracies."""
