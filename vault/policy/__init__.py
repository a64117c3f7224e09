"""Who may do what with which field, for which purpose: the policy folder, and decisions by it."""
