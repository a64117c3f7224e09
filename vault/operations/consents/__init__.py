"""What people say about their data: consents, objections, restrictions. One verb a file."""
