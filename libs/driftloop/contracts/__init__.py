"""The contract between the services: every event, batch, subject and stream is defined here and nowhere else."""
