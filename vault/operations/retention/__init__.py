"""What is kept until when and why, and what happens when time is up."""
