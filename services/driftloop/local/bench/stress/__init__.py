"""What steady serving is worth under trouble: steady and stressed runs in turn, side by side."""
