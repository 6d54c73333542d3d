"""What people read: numbers, plain text, progress and the console."""
