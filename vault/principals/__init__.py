"""Who calls: apps with API keys, staff with tokens of the company's issuer, and how much each may ask for."""
