"""What one call of an operation asks for, one named tuple each; nothing of the data."""
