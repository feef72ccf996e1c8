"""What is known of networks, and their files."""
