"""What D and G are asked: losses, penalties, terms, and what stands in front of the judge."""
