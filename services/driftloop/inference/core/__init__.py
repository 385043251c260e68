"""Answers requests, whatever they travel on: who answers, the queue, the micro-batch."""
