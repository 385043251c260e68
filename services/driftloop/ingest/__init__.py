"""The door for rows and labels: reads what producers send, and says yes once the log has it."""
