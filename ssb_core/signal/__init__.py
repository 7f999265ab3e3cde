"""The teacher signal: the teacher's exact token distribution, stored as final hidden states.

Teacher and student share the frozen output head, so the hidden state after the final norm *is* the logit vector,
compressed without loss: H numbers per token instead of V. Temperature and divergence are chosen at training time.
"""
