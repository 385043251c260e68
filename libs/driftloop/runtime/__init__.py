"""What every service does the same: settings, logs, metrics, health, start and graceful stop."""
