"""Policies: the folder, the rules, and the decision who may do what with which field for which purpose."""
