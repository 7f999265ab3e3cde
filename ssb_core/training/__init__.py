"""Training of students: the trainers, their data, checkpoints and logs."""
