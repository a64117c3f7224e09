"""What all HTTP applications share: middleware, problems (RFC 9457) and metrics."""
