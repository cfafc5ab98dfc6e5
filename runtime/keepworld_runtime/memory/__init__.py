"""What is kept of a walk, and which of it a view needs to see again."""
